"""One HTTP server on 127.0.0.1 that answers every AWS call of the local run, if the caller may make it."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import (
    BackendRequest,
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.exceptions import NotFound
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from local.cloud import access, calls
from local.cloud.access import AccessDeniedError, Caller, Permission
from local.cloud.public_bucket import PublicBucket, s3_error
from local.warehouse import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from moto.core.request import Request
    from werkzeug.serving import BaseWSGIServer

    from local.cloud.calls import Call

LOG = logging.getLogger("bison.local.endpoint")

OPERATOR_KEY_ID = "AKIALOCALOPERATOR000"
OPERATOR_SECRET = "opens-nothing"  # noqa: S105 -- nobody but this process's own endpoint knows it


_DATA_API = {
    "ExecuteStatement": "execute_statement",
    "DescribeStatement": "describe_statement",
    "GetStatementResult": "get_statement_result",
    "ListStatements": "list_statements",
    "CancelStatement": "cancel_statement",
}


class DataApi(Protocol):
    """Redshift's Data API: each operation takes the request's members and returns the answer's."""

    def execute_statement(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Submit a statement."""

    def describe_statement(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Say what became of a statement."""

    def get_statement_result(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Give a page of a statement's result."""

    def list_statements(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """List statements by a prefix of their names."""

    def cancel_statement(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """End a statement early."""

    def close(self) -> None:
        """Take no more statements."""


class Endpoint:
    """The server. Its attributes say who answers what moto does not.

    data_api: Redshift's Data API. workgroups: ARN of each Redshift workgroup by name. statement_owners: who submitted
    each statement. public_buckets: by name. bucket_policies: by bucket's name. on_invoke: takes the function's name and
    the event of an asynchronous Invoke. after_ec2: is called when moto has answered EC2. on_fault: hears of faults.
    """

    def __init__(self) -> None:
        self.data_api: DataApi | None = None
        self.workgroups: dict[str, str] = {}
        self.statement_owners: dict[str, str] = {}
        self.public_buckets: dict[str, PublicBucket] = {}
        self.bucket_policies: dict[str, Mapping[str, Any]] = {}
        self.on_invoke: Callable[[str, Any], None] = _nobody_invokes
        self.after_ec2: Callable[[], None] = lambda: None
        self.on_fault: Callable[[Exception], None] = lambda _error: None
        self._moto = _Moto(create_backend_app)
        # moto's models are made for one request at a time.
        self._moto_lock = threading.Lock()
        self._server: BaseWSGIServer | None = None

    def start(self) -> str:
        """Serve in a thread. Returns the address."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_RequestHandler)
        threading.Thread(target=self._server.serve_forever, name="aws-endpoint", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        request = BackendRequest(environ)
        try:
            response = self._answer(request)
        except Exception as error:
            LOG.exception("%s %s", request.method, request.path)
            self.on_fault(error)
            response = Response("The local endpoint failed: see the run's log.", status=500)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        # Before the form is looked at, which would use the body up: moto gets it too.
        request.get_data()
        signer = calls.signer(request)
        try:
            call = calls.parse(request, signer[2] if signer else "s3")
        except NotFound:
            LOG.error("No such operation: %s %s", request.method, request.raw_url)
            return Response("UnknownOperationException", status=404)
        try:
            caller = _caller(signer)
            self._authorize(caller, call)
        except AccessDeniedError as denied:
            LOG.warning("%s", denied)
            return _denial(call, str(denied), head=request.method == "HEAD")
        if call.service == "s3" and (bucket := self.public_buckets.get(call.parameters["Bucket"])):
            return bucket.answer(call.operation, call.parameters["Key"], request)
        if call.service == "redshift-data" and self.data_api is not None:
            return self._data_api_answer(self.data_api, caller, call)
        if (call.service, call.operation) == ("lambda", "Invoke"):
            return self._invoke(call)
        response = self._ask_moto(request, call.service)
        if call.service == "ec2":
            self.after_ec2()
        if response.status_code == 404 and call.operation in ("GetObject", "HeadObject"):
            return self._missing_object(caller, call, response)
        return response

    def _authorize(self, caller: Caller, call: Call) -> None:
        bucket = call.parameters.get("Bucket") if call.service == "s3" else None
        if caller is access.ANYBODY and bucket in self.public_buckets:
            return
        policies = [self.bucket_policies[bucket]] if bucket in self.bucket_policies else []
        # A statement of an earlier process is nobody's: its caller hears that it is not there.
        owner = self.statement_owners.get(call.parameters.get("Id", ""), caller.user_id)
        needed = [] if caller is access.OPERATOR else calls.permissions(call, self.workgroups, owner)
        access.authorize(caller, needed, policies)
        if caller is access.ANYBODY:
            raise AccessDeniedError("The request is not signed.")

    def _missing_object(self, caller: Caller, call: Call, response: Response) -> Response:
        """S3 tells that a key is missing only to those who may list the bucket; the others are refused."""
        listing = Permission("s3:ListBucket", calls.bucket_arn(call.parameters["Bucket"]))
        try:
            access.authorize(caller, [listing])
        except AccessDeniedError as denied:
            LOG.warning("%s/%s is missing, and %s", call.parameters["Bucket"], call.parameters["Key"], denied)
            return _denial(call, str(denied), head=call.operation == "HeadObject")
        return response

    def _invoke(self, call: Call) -> Response:
        if call.parameters.get("InvocationType") != "Event":
            return _json_error(
                400, "InvalidRequestContentException", "The local run invokes with InvocationType=Event only."
            )
        name = call.parameters["FunctionName"].rsplit(":", 1)[-1]
        try:
            self.on_invoke(name, json.loads(call.parameters.get("Payload") or b"{}"))
        except KeyError:
            return _json_error(404, "ResourceNotFoundException", f"Function not found: {name}")
        return Response(b"", status=202)

    def _data_api_answer(self, data_api: DataApi, caller: Caller, call: Call) -> Response:
        if call.operation not in _DATA_API:
            return _json_error(400, "UnknownOperationException", f"The local run has no {call.operation}.")
        try:
            answer = getattr(data_api, _DATA_API[call.operation])(call.parameters)
        except WarehouseError as error:
            return _json_error(400, error.code, str(error))
        if call.operation == "ExecuteStatement":
            self.statement_owners.setdefault(answer["Id"], caller.user_id)
        return Response(json.dumps(answer), mimetype="application/x-amz-json-1.1")

    def _ask_moto(self, request: Request, service: str) -> Response:
        body = request.get_data()
        environ = {
            **request.environ,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            _SERVICE: service,
        }
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        for key in [key for key in environ if key.startswith("werkzeug.request")]:
            del environ[key]
        with self._moto_lock:
            return Response.from_app(self._moto, environ, buffered=True)


_SERVICE = "bison.service"


class _Moto(DomainDispatcherApplication):
    """moto's applications by service. Its own way to find one looks through the file system at every request."""

    def get_application(self, environ: dict[str, Any]) -> Any:
        service = environ[_SERVICE]
        if service not in self.app_instances:
            self.app_instances[service] = super().get_application(environ)
        return self.app_instances[service]


class _RequestHandler(MotoRequestHandler):
    """Keeps connections open, which werkzeug's own handler does not: a month makes thousands of small requests."""

    protocol_version = "HTTP/1.1"
    # Head and body leave together; apart, the second would wait for the first one's acknowledgement.
    wbufsize = 65536

    def run_wsgi(self) -> None:
        """Answer the request that was read. Its body is read whole, so that the next request begins after it."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        environ = self.make_environ()
        source = environ["wsgi.input"]
        chunked = environ.get("wsgi.input_terminated")
        body = source.read() if chunked else source.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        answer = Response.from_app(self.server.app, environ)
        if answer.content_length is None:
            answer.make_sequence()
            answer.content_length = answer.calculate_content_length()
        self.send_response(answer.status_code)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if environ["REQUEST_METHOD"] != "HEAD":
            for part in answer.iter_encoded():
                self.wfile.write(part)
        answer.close()
        self.wfile.flush()

    def log_request(self, *_: Any) -> None:
        """Say nothing: the log has refusals and errors only."""


def _nobody_invokes(name: str, _event: Any) -> None:
    raise KeyError(name)


def _caller(signer: tuple[str, str | None, str] | None) -> Caller:
    if signer is None:
        return access.ANYBODY
    key_id, session_token, _ = signer
    return access.OPERATOR if key_id == OPERATOR_KEY_ID else access.assumed_role(key_id, session_token or "")


def _json_error(status: int, code: str, message: str) -> Response:
    body = json.dumps({"__type": code, "message": message, "Message": message})
    return Response(body, status=status, headers={"x-amzn-ErrorType": code}, mimetype="application/x-amz-json-1.1")


def _denial(call: Call, message: str, *, head: bool) -> Response:
    """A refusal in the words of the service's protocol."""
    if call.service == "s3":
        return s3_error(403, "AccessDenied", message, head=head)
    if call.protocol == "ec2":
        body = f"<Code>UnauthorizedOperation</Code><Message>{escape(message)}</Message>"
        return Response(
            f"<Response><Errors><Error>{body}</Error></Errors><RequestID>local</RequestID></Response>",
            status=403,
            mimetype="text/xml",
        )
    if call.protocol == "query":
        body = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{escape(message)}</Message></Error>"
        return Response(f"<ErrorResponse>{body}</ErrorResponse>", status=403, mimetype="text/xml")
    return _json_error(403 if call.protocol == "rest-json" else 400, "AccessDeniedException", message)
