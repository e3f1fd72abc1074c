"""The AWS that the functions' tests run on: moto for S3 and EC2, fakes for what moto lacks."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse
from moto.s3.models import S3Backend

from functions import aws
from functions.store import Attempt, Store
from workflow import names
from workflow.environment import FunctionSettings, LauncherSettings
from workflow.markers import Marker
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUCKET = "bison-test"
GBIF_BUCKET = "gbif-test"
NOVEMBER = Month(2026, 11)
IMAGE = "ami-12c6146b"

SETTINGS = FunctionSettings(
    stack="test",
    prefix="bison_test",
    bucket=BUCKET,
    gbif_bucket=GBIF_BUCKET,
    code="0123abcd",
    workgroup="bison-test",
    database="dev",
    external_schema="bison_gbif",
    glue_database="bison_test",
    riis_key="input/US-RIIS_MasterList.csv",
    county_key="input/county.shp",
    aiannh_key="input/aiannh.shp",
    country_codes=("US",),
    basis_of_record=("HUMAN_OBSERVATION",),
    snapshot_settle_minutes=30,
)


def event(name: str, **detail: Any) -> dict[str, Any]:
    """A recorded event; ``detail`` replaces members of its detail, ``time`` its time."""
    body: dict[str, Any] = json.loads((Path(__file__).parent / "events" / f"{name}.json").read_text())
    body = copy.deepcopy(body)
    if "time" in detail:
        body["time"] = detail.pop("time")
    if detail:
        body["detail"] |= detail
    return body


def marker_event(step: str, month: Month = NOVEMBER, outcome: str = "success") -> dict[str, Any]:
    return event("success_marker", object={"key": names.run_key(month, step, outcome), "size": 1, "etag": "e"})


def statement_event(name: str, state: str = "FINISHED") -> dict[str, Any]:
    return event("statement_ended", statementName=name, state=state)


@pytest.fixture
def set_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Give the process the environment of that step's function."""

    def set_environment(step: str | None) -> None:
        monkeypatch.delenv("BISON_STEP", raising=False)
        for name, value in SETTINGS.to_environ().items():
            monkeypatch.setenv(name, value)
        if step is not None:
            monkeypatch.setenv("BISON_STEP", step)

    return set_environment


@pytest.fixture(scope="module")
def quick_moto() -> Iterator[None]:
    """Moto without what it does anew for each test or request, though it is always the same."""
    with pytest.MonkeyPatch.context() as patched:
        # Reading its list of machine images takes a second.
        patched.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        # It makes a service's list of URLs anew for each request.
        patched.setattr(S3Backend, "urls", S3Backend("us-east-1", "123456789012").urls)
        yield


@pytest.fixture
def cloud(quick_moto: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account with the two buckets."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        s3 = aws.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.create_bucket(Bucket=GBIF_BUCKET)
        yield


@pytest.fixture
def bucket(cloud: None) -> Bucket:
    return Bucket()


class Bucket:
    """The data bucket, as a test fills and reads it."""

    def __init__(self) -> None:
        self.store = Store(aws.client("s3"), BUCKET)

    def put(self, key: str, body: bytes | str = b"x") -> None:
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def keys(self, prefix: str = "") -> list[str]:
        return [item.key for item in self.store.objects(prefix)]

    def json(self, key: str) -> Any:
        return self.store.read_json(key)

    def mark(
        self, step: str, attempt: int = 1, error: str | None = None, month: Month = NOVEMBER, ago: int = 0
    ) -> None:
        """A step's marker, ``ago`` minutes old."""
        finished = (datetime.now(UTC) - timedelta(minutes=ago)).isoformat()
        marker = Marker(month.name, step, attempt, finished, finished, error=error)
        self.put(marker.key, marker.to_json())

    def begin(
        self,
        step: str,
        attempt: int = 1,
        after: int | None = None,
        first: int | None = None,
        month: Month = NOVEMBER,
        ago: int = 0,
    ) -> None:
        """Note an attempt, begun ``ago`` minutes ago."""
        started = (datetime.now(UTC) - timedelta(minutes=ago)).isoformat()
        body = {"attempt": attempt, "started": started, "first": first or attempt, "after": after}
        self.put(names.current_attempt_key(month, step), json.dumps(body))

    def attempt(self, step: str, month: Month = NOVEMBER) -> Attempt | None:
        stored = self.store.attempt(month, step)
        return stored.attempt if stored else None

    def marker(self, step: str, outcome: str = "success", month: Month = NOVEMBER) -> Marker | None:
        text = self.store.read(names.run_key(month, step, outcome))
        return None if text is None else Marker.from_json(text)


@dataclass
class Fake:
    """Answers of a service, by operation: a function of the request's body, or a queue of (status, body)."""

    requests: list[tuple[str, Any]] = field(default_factory=list)

    def named(self, operation: str) -> list[Any]:
        return [body for name, body in self.requests if name == operation]


def _response(request: Any, status: int, body: bytes, content_type: str) -> AWSResponse:
    return AWSResponse(request.url, status, {"content-type": content_type}, MockRawResponse(body))


class FakeDataApi(Fake):
    """Redshift's Data API with its client tokens. ``end`` settles what runs; ``results`` are rows by SQL text."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: dict[str, dict[str, Any]] = {}
        self.by_token: dict[str, str] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.refusals: list[tuple[int, str, str]] = []

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().split(".")[1]
        body = json.loads(request.body)
        self.requests.append((operation, body))
        if self.refusals:
            status, code, message = self.refusals.pop(0)
            text = json.dumps({"__type": code, "message": message})
            return _response(request, status, text.encode(), "application/x-amz-json-1.1")
        return _response(
            request, 200, json.dumps(getattr(self, operation)(body)).encode(), "application/x-amz-json-1.1"
        )

    def ExecuteStatement(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        identifier = self.by_token.setdefault(
            body["ClientToken"], f"{len(self.by_token):08d}-1b3e-4f5a-8c9d-0e1f2a3b4c5d"
        )
        self.statements.setdefault(
            identifier, {"Id": identifier, "Status": "STARTED", "Sql": body["Sql"], "Name": body["StatementName"]}
        )
        return {"Id": identifier}

    def DescribeStatement(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {key: value for key, value in self.statements[body["Id"]].items() if key not in ("Sql", "Name")}

    def GetStatementResult(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        rows = self.results[self.statements[body["Id"]]["Sql"]]
        page = int(body.get("NextToken", 0))
        columns = [{"name": name, "typeName": _type_name(value)} for name, value in rows[0].items()]
        answer: dict[str, Any] = {"ColumnMetadata": columns, "Records": [[_cell(v) for v in rows[page].values()]]}
        if page + 1 < len(rows):
            answer["NextToken"] = str(page + 1)
        return answer

    def CancelStatement(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.statements[body["Id"]]["Status"] = "ABORTED"
        return {"Status": True}

    @property
    def running(self) -> list[str]:
        """Names of the statements that run."""
        return [each["Name"] for each in self.statements.values() if each["Status"] == "STARTED"]

    def end(self, state: str = "FINISHED", error: str | None = None) -> str:
        """Have the one running statement end; gives its name."""
        (statement,) = [each for each in self.statements.values() if each["Status"] == "STARTED"]
        statement |= {"Status": state, "Duration": 1_500_000_000, "ResultRows": 7}
        statement["HasResultSet"] = statement["Sql"] in self.results
        if error is not None:
            statement["Error"] = error
        return str(statement["Name"])


def _type_name(value: Any) -> str:
    return "numeric" if isinstance(value, str) and value.isdigit() else "varchar" if isinstance(value, str) else "int8"


def _cell(value: Any) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    return {"stringValue": value} if isinstance(value, str) else {"longValue": value}


def _hooked(service: Any, event_name: str, handler: Any) -> Iterator[None]:
    events = aws.client(service).meta.events
    events.register_first(event_name, handler)
    yield
    events.unregister(event_name, handler)


@pytest.fixture
def data_api(cloud: None) -> Iterator[FakeDataApi]:
    fake = FakeDataApi()
    for _ in _hooked("redshift-data", "before-send.redshift-data", fake.answer):
        yield fake


class FakeLambda(Fake):
    """Lambda's Invoke: takes every asynchronous call."""

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        name = request.url.split("/functions/")[1].split("/")[0]
        assert request.headers["X-Amz-Invocation-Type"] == b"Event"
        self.requests.append((name, json.loads(request.body)))
        return _response(request, 202, b"", "application/json")


@pytest.fixture
def invocations(cloud: None) -> Iterator[FakeLambda]:
    fake = FakeLambda()
    for _ in _hooked("lambda", "before-send.lambda.Invoke", fake.answer):
        yield fake


class FakeFleets(Fake):
    """EC2 whose next CreateFleet calls fail with the errors in ``errors``; moto answers when there are none left.

    An entry is (HTTP status, codes): with 200 the codes are members of an answer without instances, else the first one
    is thrown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[tuple[int, tuple[str, ...]]] = []

    def answer(self, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]] | None:
        self.requests.append(("CreateFleet", params["body"]))
        if not self.errors:
            return None
        # Before the call: moto would start an instance all the same if only its answer were replaced.
        status, codes = self.errors.pop(0)
        errors = [{"ErrorCode": code, "ErrorMessage": f"about {code}"} for code in codes]
        thrown = {"Code": codes[0], "Message": f"about {codes[0]}"}
        parsed = {"FleetId": "fleet-1", "Errors": errors} if status == 200 else {"Error": thrown}
        response = AWSResponse("https://ec2.us-east-1.amazonaws.com", status, {}, MockRawResponse(b""))
        return response, parsed | {"ResponseMetadata": {"HTTPStatusCode": status}}


LAUNCHER = LauncherSettings(
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/bison@sha256:" + "0" * 64,
    instance_types=("t4g.small", "t4g.medium", "m6g.medium", "m7g.medium"),
    subnets=("subnet-a", "subnet-b"),
)


@pytest.fixture
def fleets(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFleets]:
    """EC2 with launch templates for the tasks, and the launcher's settings in the environment."""
    ec2 = aws.client("ec2")
    subnets = tuple(subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"][:2])
    launcher = LauncherSettings(LAUNCHER.image, LAUNCHER.instance_types, subnets)
    for name, value in launcher.to_environ().items():
        monkeypatch.setenv(name, value)
    for step in ("test_task", "annotate_riis", "calc_stats"):
        ec2.create_launch_template(
            LaunchTemplateName=names.launch_template_name(SETTINGS.prefix, step),
            LaunchTemplateData={"ImageId": IMAGE},
        )
    fake = FakeFleets()
    for _ in _hooked("ec2", "before-call.ec2.CreateFleet", fake.answer):
        yield fake


def launch(step: str, attempt: int = 1, month: Month = NOVEMBER, stack: str = "test") -> str:
    """An instance with a task's tags; gives its identifier."""
    ec2 = aws.client("ec2")
    tags = [{"Key": key, "Value": value} for key, value in names.instance_tags(stack, month, step, attempt).items()]
    answer = ec2.run_instances(
        ImageId=IMAGE,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return answer["Instances"][0]["InstanceId"]


def instance_states() -> dict[str, str]:
    answer = aws.client("ec2").describe_instances()
    return {
        instance["InstanceId"]: instance["State"]["Name"]
        for group in answer["Reservations"]
        for instance in group["Instances"]
    }
