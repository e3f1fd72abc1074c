"""The embedded cloud: the program's resources, the endpoint in front of them, and the loop that delivers events."""

from __future__ import annotations

import logging
import os
import queue
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, Self
from unittest.mock import patch

import boto3
from moto.core import loaders, utils
from moto.iam.models import iam_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.s3 import notifications
from moto.s3.models import s3_backends

from local.cloud import access
from local.cloud.access import ACCOUNT, PARTITION, REGION
from local.cloud.endpoint import OPERATOR_KEY_ID, OPERATOR_SECRET, DataApi, Endpoint
from local.cloud.events import Event, Schedule, make_event, object_created
from local.cloud.functions import Function, environment
from local.cloud.instances import CODE_ROOT, Instances
from local.cloud.program import Program, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from local.cloud.public_bucket import PublicBucket

LOG = logging.getLogger("bison.local.cloud")

LAMBDA, EC2, EVENTS, SCHEDULER, REDSHIFT = (
    f"{name}.amazonaws.com" for name in ("lambda", "ec2", "events", "scheduler", "redshift")
)

_CREATED = {
    "s3:ObjectCreated:Put": "PutObject",
    "s3:ObjectCreated:Post": "POST Object",
    "s3:ObjectCreated:Copy": "CopyObject",
    "s3:ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
}
"""S3's reasons in EventBridge's events, by the event names that moto uses."""

_only_one_at_a_time = threading.Lock()
"""moto's state belongs to the process."""


class DeliveryError(Exception):
    """An event cannot reach its target: the program forgot a right, or names something that is not there."""


class Listener(Protocol):
    """Who watches a cloud. May be called from any thread."""

    def object_written(self, bucket: str, key: str, content: bytes) -> None:
        """An object was created or replaced."""

    def object_deleted(self, bucket: str, key: str) -> None:
        """An object is gone."""

    def progress(self, step: str, label: str, done: int, total: int) -> None:
        """A task says how far it is."""


@dataclass(frozen=True)
class _Invocation:
    function: str
    event: Any


class Cloud:
    """AWS for the length of a ``with`` block. One at a time in a process.

    main: the Pulumi program. stack, config: what it is executed with. data_api: makes Redshift's Data API, given the
    cloud. public_bucket: GBIF's. logs: folder for the tasks' output. deliver_twice: each event and each invocation
    comes a second time, as AWS may do. task_image: what Docker runs the tasks in; None: they are processes.
    answers: what each function returned last.
    """

    def __init__(
        self,
        *,
        listener: Listener,
        data_api: Callable[[Cloud], DataApi],
        public_bucket: PublicBucket,
        logs: Path,
        config: Mapping[str, str],
        stack: str = "local",
        main: Path = CODE_ROOT / "__main__.py",
        deliver_twice: bool = False,
        task_image: str | None = None,
    ) -> None:
        self.listener = listener
        self.program = Program()
        self.answers: dict[str, Any] = {}
        self._make_data_api = data_api
        self._public_bucket = public_bucket
        self._config, self._stack, self._main = config, stack, main
        self._deliver_twice = deliver_twice
        self._queue: queue.Queue[Event | _Invocation | Exception] = queue.Queue()
        self._quiet = False
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.RLock()
        self._warehouse_client: Any = None
        self._exit = ExitStack()
        self._endpoint = Endpoint()
        self._instances = Instances(
            publish=self.publish,
            credentials=lambda role: self.credentials(_role_arn(role), EC2),
            terminate=lambda instance_id: self.client("ec2").terminate_instances(InstanceIds=[instance_id]),
            logs=logs,
            on_progress=listener.progress,
            image=task_image,
        )
        self._statements: set[str] = set()
        self._ended_statements: set[str] = set()

    def __enter__(self) -> Self:
        if not _only_one_at_a_time.acquire(blocking=False):
            raise RuntimeError("Another embedded cloud runs in this process.")
        with ExitStack() as stack:
            stack.callback(_only_one_at_a_time.release)
            moto_api_backend.reset()
            stack.enter_context(patch.object(notifications, "send_event", self._object_changed))
            # moto makes a loader for each service's model, and each looks through hundreds of folders.
            stack.enter_context(patch.object(utils, "create_loader", cache(loaders.create_loader)))
            self.url = self._endpoint.start()
            stack.callback(self._endpoint.stop)
            # The user's own AWS profile and keys have no business here.
            stack.enter_context(environment(self._variables(OPERATOR_KEY_ID, OPERATOR_SECRET)))
            self._session = boto3.session.Session()
            self._endpoint.public_buckets[self._public_bucket.name] = self._public_bucket
            self.program = execute(
                self._main, project="bison", stack=self._stack, config=self._config, client=self.client
            )
            for function in self.program.functions.values():
                function.credentials = self.credentials(function.role, LAMBDA)
            self._endpoint.workgroups.update(self.program.workgroups)
            self._endpoint.bucket_policies.update(self.program.bucket_policies)
            self._endpoint.on_invoke = self._invoked
            self._endpoint.on_fault = self._queue.put
            self._endpoint.after_ec2 = self._instances.observe
            data_api = self._make_data_api(self)
            stack.callback(data_api.close)
            self._endpoint.data_api = _Watched(data_api, self._statements)
            stack.callback(self._instances.stop)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    # ------------------------------------------------------------------------ for whoever runs the cloud

    def client(self, service: str) -> Any:
        """boto3's client of a service for the operator, who may do anything."""
        with self._clients_lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(service)  # type: ignore[call-overload]
            return self._clients[service]

    def warehouse_client(self) -> Any:
        """An S3 client with the rights of Redshift's default role, as COPY, UNLOAD and Spectrum have them."""
        with self._clients_lock:
            if self._warehouse_client is None:
                variables = self.credentials(self.program.warehouse_role, REDSHIFT)
                self._warehouse_client = boto3.session.Session(
                    aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
                    aws_session_token=variables["AWS_SESSION_TOKEN"],
                ).client("s3")
            return self._warehouse_client

    def credentials(self, role_arn: str, principal: str) -> dict[str, str]:
        """Environment variables with which an AWS client acts as the role.

        Raises DeliveryError if the role's trust policy does not name ``principal``.
        """
        self._check_trust(role_arn, principal)
        given = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="local")["Credentials"]
        return self._variables(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    @contextmanager
    def without_events(self) -> Iterator[None]:
        """Objects written in this block start nothing: what an earlier run left is put back."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def read(self, bucket: str, key: str) -> bytes | None:
        """An object's content, or None."""
        found = s3_backends[ACCOUNT][PARTITION].get_object(bucket, key)
        return None if found is None else bytes(found.value)

    def keys(self, bucket: str) -> list[str]:
        """Every key of a bucket."""
        return sorted(s3_backends[ACCOUNT][PARTITION].get_bucket(bucket).keys)

    def fire(self, schedule: Schedule, scheduled: datetime) -> None:
        """Let a schedule's time come. Raises DeliveryError if Scheduler's role may not invoke the target."""
        function = self._function(schedule.target.arn, f"Schedule {schedule.name}")
        role = self._check_trust(schedule.role, SCHEDULER, schedule.group_arn)
        needed = access.Permission("lambda:InvokeFunction", function.arn)
        if not access.is_allowed(access.role_documents(role), needed):
            raise DeliveryError(
                f"Schedule {schedule.name} may not invoke {function.name}: {role} lacks {needed.action}."
            )
        self._put(_Invocation(function.name, schedule.event(scheduled)))

    def schedule_of(self, function: str) -> Schedule:
        """The enabled schedule that starts a function. Raises LookupError if there is none."""
        for schedule in self.program.schedules.values():
            if schedule.enabled and schedule.target.arn == self.program.functions[function].arn:
                return schedule
        raise LookupError(f"The program has no schedule for {function}.")

    def invoke(self, function: str, event: Any) -> None:
        """Invoke a function asynchronously, as a person would by hand."""
        self._invoked(function, event)

    def publish(self, event: Event) -> None:
        """Put an event of an AWS service on the default bus."""
        self._put(event)

    def statement_ended(self, detail: Mapping[str, Any]) -> None:
        """Publish a statement's status event, and know it as ended. May be called from any thread."""
        self._put(make_event("aws.redshift-data", "Redshift Data Statement Status Change", detail))
        self._ended_statements.add(detail["statementId"])

    def run_until_idle(self) -> None:
        """Deliver events until none is left and nothing is under way that could bring one.

        Raises FunctionFailedError (after Lambda's three attempts), DeliveryError, and any fault of the endpoint's.
        """
        while True:
            # Asked first: whatever ends in between has put its event into the queue before it counts as ended.
            busy = self._busy()
            try:
                delivery = self._queue.get(timeout=0.2 if busy else 0.0) if busy else self._queue.get_nowait()
            except queue.Empty:
                if not busy:
                    return
                continue
            if isinstance(delivery, Exception):
                raise delivery
            if isinstance(delivery, _Invocation):
                self._run(self.program.functions[delivery.function], delivery.event)
            else:
                self._deliver(delivery)

    # ------------------------------------------------------------------------ inside

    def _check_trust(self, role_arn: str, principal: str, source_arn: str | None = None) -> str:
        """The role's name. Raises DeliveryError if AWS would not let ``principal`` assume it."""
        role = iam_backends[ACCOUNT][PARTITION].get_role_by_arn(role_arn)
        if not access.trusts(access.parse_document(role.assume_role_policy_document), principal, source_arn):
            raise DeliveryError(f"{role_arn} cannot be assumed by {principal}: its trust policy does not allow it.")
        return str(role.name)

    def _busy(self) -> bool:
        return bool(self._statements - self._ended_statements) or self._instances.running

    def _put(self, delivery: Event | _Invocation) -> None:
        for _ in range(2 if self._deliver_twice else 1):
            self._queue.put(delivery)

    def _invoked(self, function: str, event: Any) -> None:
        if function not in self.program.functions:
            raise KeyError(function)
        self._put(_Invocation(function, event))

    def _deliver(self, event: Event) -> None:
        for rule in self.program.rules.values():
            if not rule.matches(event):
                continue
            for target in self.program.targets.get(rule.name, ()):
                function = self._function(target.arn, f"Rule {rule.name}")
                if not function.may_be_invoked_by(EVENTS, rule.arn):
                    raise DeliveryError(
                        f"Rule {rule.name} may not invoke {function.name}: the program makes no Permission for it."
                    )
                LOG.info("%s -> %s", event["detail-type"], function.name)
                self._run(function, event if target.input is None else access.parse_document(target.input))

    def _run(self, function: Function, event: Any) -> None:
        self.answers[function.name] = function.run(event)

    def _function(self, arn: str, source: str) -> Function:
        for function in self.program.functions.values():
            if function.arn == arn:
                return function
        raise DeliveryError(f"{source} has the target {arn}, which is no function of the program.")

    def _object_changed(self, _account: str, event_name: str, bucket: Any, key: Any) -> None:
        """moto's hook after each change in S3."""
        if event_name.startswith("s3:ObjectRemoved:"):
            self.listener.object_deleted(bucket.name, key.name)
            return
        # moto tells of a multipart upload's end twice, the first time as of a PUT.
        if event_name not in _CREATED or (event_name == "s3:ObjectCreated:Put" and key.multipart is not None):
            return
        self.listener.object_written(bucket.name, key.name, key.value)
        configuration = bucket.notification_configuration
        if not self._quiet and configuration is not None and configuration.event_bridge is not None:
            etag = key.etag.replace('"', "")
            self._put(object_created(bucket.name, key.name, key.size, etag, _CREATED[event_name]))

    def _variables(self, key_id: str, secret: str, token: str | None = None) -> dict[str, str]:
        # Through a proxy, the endpoint on 127.0.0.1 would be the proxy's own machine.
        without_proxy = ",".join(dict.fromkeys([*filter(None, os.environ.get("NO_PROXY", "").split(",")), "127.0.0.1"]))
        variables = {
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": without_proxy,
            "no_proxy": without_proxy,
        }
        return variables if token is None else {**variables, "AWS_SESSION_TOKEN": token}


class _Watched:
    """A Data API that notes which statements will tell of their end."""

    def __init__(self, data_api: DataApi, statements: set[str]) -> None:
        self._data_api = data_api
        self._statements = statements

    def execute_statement(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._data_api.execute_statement(request)
        if request.get("WithEvent"):
            self._statements.add(answer["Id"])
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data_api, name)


def _role_arn(role_name: str) -> str:
    return f"arn:{PARTITION}:iam::{ACCOUNT}:role/{role_name}"
