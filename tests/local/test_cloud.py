"""The embedded cloud around a small Pulumi program: its resources, its rights, its events, its functions."""

from __future__ import annotations

import os
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from local.cloud.cloud import Cloud, DeliveryError
from local.cloud.functions import ATTEMPTS, FunctionFailedError
from local.cloud.public_bucket import PublicBucket

PROGRAM = """
import json
import pulumi, pulumi_aws as aws

def trust(service):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

bucket = aws.s3.Bucket("data", bucket="data")
aws.s3.BucketNotification("events", bucket=bucket.bucket, eventbridge=True)
for name in ("first", "second"):
    role = aws.iam.Role(name, name=name, assume_role_policy=trust("lambda.amazonaws.com"))
    statements = [
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/" + name + "/*"},
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::*/open/*"},
        {"Effect": "Allow", "Action": "redshift-data:ExecuteStatement", "Resource": "*"},
        {"Effect": "Allow", "Action": "redshift-data:DescribeStatement", "Resource": "*",
         "Condition": {"StringEquals": {"redshift-data:statement-owner-iam-userid": "${aws:userid}"}}},
    ]
    if name == "first":
        statements.append({"Effect": "Allow", "Action": "redshift-serverless:GetCredentials", "Resource": "*"})
        statements.append({"Effect": "Allow", "Action": "lambda:InvokeFunction",
                           "Resource": "arn:aws:lambda:us-east-1:123456789012:function:second"})
    aws.iam.RolePolicy(name, role=role.name, policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    function = aws.lambda_.Function(
        name, name=name, role=role.arn, runtime="python3.13", handler="cloud_test_handlers." + name, timeout=7,
        code=pulumi.AssetArchive({"a.py": pulumi.StringAsset("")}),
        environment=aws.lambda_.FunctionEnvironmentArgs(variables={"BISON_WHO": name}))
    pattern = {"source": ["aws.s3"], "detail": {"object": {"key": [{"wildcard": "to/" + name + "/*"}]}}}
    rule = aws.cloudwatch.EventRule(name, name=name, event_pattern=json.dumps(pattern))
    aws.cloudwatch.EventTarget(name, rule=rule.name, arn=function.arn)
    if name == "first":
        aws.lambda_.Permission(name, function=function.name, action="lambda:InvokeFunction",
                               principal="events.amazonaws.com", source_arn=rule.arn)
        role = aws.iam.Role("scheduler", name="scheduler", assume_role_policy=trust("scheduler.amazonaws.com"))
        resource = "arn:aws:lambda:us-east-1:123456789012:function:first"
        statement = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        aws.iam.RolePolicy("scheduler", name="scheduled", role=role.name, policy=document)
        aws.scheduler.Schedule("s", name="s", schedule_expression="cron(0 12 2 * ? *)",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(arn=function.arn, role_arn=role.arn,
                                                    input='{"time": "<aws.scheduler.scheduled-time>"}'))
aws.redshiftserverless.Workgroup("w", workgroup_name="www", namespace_name="nnn")
pulumi.export("bucket", bucket.bucket)
"""


class Listener:
    """Notes what was written and deleted."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}

    def object_written(self, bucket: str, key: str, content: bytes) -> None:
        self.written[key] = content

    def object_deleted(self, bucket: str, key: str) -> None:
        del self.written[key]

    def progress(self, step: str, label: str, done: int, total: int) -> None: ...


class DataApi:
    """Takes every statement; ends none by itself."""

    def __init__(self) -> None:
        self.sql: list[str] = []

    def execute_statement(self, request):
        self.sql.append(request["Sql"])
        return {"Id": f"00000000-0000-4000-8000-00000000000{len(self.sql)}", "CreatedAt": 1.0}

    def describe_statement(self, request):
        return {"Id": request["Id"], "Status": "FINISHED"}

    def close(self) -> None: ...


@pytest.fixture
def handlers(monkeypatch):
    """The functions' module: a test puts its handlers in."""
    module = types.ModuleType("cloud_test_handlers")
    module.first = module.second = lambda event, context: None
    monkeypatch.setitem(sys.modules, "cloud_test_handlers", module)
    return module


def make_cloud(folder: Path) -> Cloud:
    """The cloud of the small program."""
    (folder / "main.py").write_text(PROGRAM)
    public = folder / "public" / "open"
    public.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        (public / f"{number:06d}").write_bytes(b"0123456789" * 10)
    return Cloud(
        listener=Listener(),
        data_api=lambda _cloud: DataApi(),
        public_bucket=PublicBucket("gbif", folder / "public", page=2),
        logs=folder,
        config={},
        main=folder / "main.py",
    )


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory):
    with make_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud):
    """The one cloud of most tests, with nothing in its bucket."""
    with shared_cloud.without_events():
        for key in shared_cloud.keys("data"):
            shared_cloud.client("s3").delete_object(Bucket="data", Key=key)
    shared_cloud.listener.written.clear()
    return shared_cloud


def client_of(cloud: Cloud, function: str, service: str):
    import boto3

    given = cloud.program.functions[function].credentials
    return boto3.session.Session(
        given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], given["AWS_SESSION_TOKEN"]
    ).client(service)


def refused(call, **parameters) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


def test_a_role_may_do_what_its_policy_says_and_nothing_else(cloud):
    s3 = client_of(cloud, "first", "s3")
    s3.put_object(Bucket="data", Key="first/a", Body=b"1")
    assert refused(s3.put_object, Bucket="data", Key="second/a", Body=b"1") == "AccessDenied"
    assert refused(s3.get_object, Bucket="data", Key="first/a") == "AccessDenied"
    assert refused(s3.copy_object, Bucket="data", Key="first/b", CopySource="data/first/a") == "AccessDenied"
    assert refused(client_of(cloud, "first", "ec2").describe_instances) == "UnauthorizedOperation"
    assert "second/a" not in cloud.listener.written


def test_a_missing_key_is_refused_to_who_may_not_list(cloud):
    """S3 answers 403 instead of 404 then; a handler that counts on 404 would fail in AWS alone."""
    assert refused(client_of(cloud, "first", "s3").get_object, Bucket="data", Key="open/none") == "AccessDenied"
    assert refused(cloud.client("s3").get_object, Bucket="data", Key="open/none") == "NoSuchKey"


def test_a_statement_needs_the_workgroups_credentials_and_belongs_to_its_role(cloud):
    statement = {"WorkgroupName": "www", "Database": "dev", "Sql": "SELECT 1"}
    first, second = client_of(cloud, "first", "redshift-data"), client_of(cloud, "second", "redshift-data")
    assert refused(second.execute_statement, **statement) == "AccessDeniedException"
    identifier = first.execute_statement(**statement)["Id"]
    assert first.describe_statement(Id=identifier)["Status"] == "FINISHED"
    assert refused(second.describe_statement, Id=identifier) == "AccessDeniedException"


def test_the_public_bucket_is_listed_in_pages_and_read_in_ranges(cloud):
    s3 = client_of(cloud, "first", "s3")
    assert refused(s3.list_objects_v2, Bucket="gbif") == "AccessDenied"
    assert s3.get_object(Bucket="gbif", Key="open/000000", Range="bytes=95-200")["Body"].read() == b"56789"
    anybody = cloud._session.client("s3", config=Config(signature_version=UNSIGNED))
    pages = list(anybody.get_paginator("list_objects_v2").paginate(Bucket="gbif", Prefix="open/"))
    assert [len(page["Contents"]) for page in pages] == [2, 2, 1]
    assert [entry["Key"][-1] for page in pages for entry in page["Contents"]] == list("01234")
    assert {entry["Size"] for page in pages for entry in page["Contents"]} == {100}
    grouped = anybody.list_objects_v2(Bucket="gbif", Delimiter="/")
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["open/"]
    assert anybody.head_object(Bucket="gbif", Key="open/000001")["ContentLength"] == 100
    assert refused(anybody.head_object, Bucket="gbif", Key="open/000009") == "404"
    assert refused(anybody.get_object, Bucket="gbif", Key="../main.py") == "NoSuchKey"
    assert refused(cloud.client("s3").put_object, Bucket="gbif", Key="open/x", Body=b"") == "AccessDenied"
    assert refused(anybody.get_object, Bucket="data", Key="open/000000") == "AccessDenied"


def test_each_way_to_write_an_object_makes_one_event(cloud, handlers):
    """moto tells of a multipart upload twice, and EventBridge's form is not S3's own."""
    events = []
    handlers.first = lambda event, context: events.append(event)
    s3 = cloud.client("s3")
    s3.put_object(Bucket="data", Key="to/first/put it", Body=b"1")
    s3.copy_object(Bucket="data", Key="to/first/copy", CopySource="data/to/first/put it")
    upload = s3.create_multipart_upload(Bucket="data", Key="to/first/parts")["UploadId"]
    parts = []
    for number, body in ((1, b"a" * 5 * 1024**2), (2, b"b")):
        which = {"Bucket": "data", "Key": "to/first/parts", "UploadId": upload, "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": s3.upload_part(**which, Body=body)["ETag"]})
    s3.complete_multipart_upload(Bucket="data", Key="to/first/parts", UploadId=upload, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket="data", Key="to/first/copy")
    cloud.run_until_idle()
    assert [(event["detail"]["object"]["key"], event["detail"]["reason"]) for event in events] == [
        ("to/first/put it", "PutObject"),
        ("to/first/copy", "CopyObject"),
        ("to/first/parts", "CompleteMultipartUpload"),
    ]
    assert events[2]["detail"]["object"]["size"] == 5 * 1024**2 + 1
    assert set(cloud.listener.written) == {"to/first/put it", "to/first/parts"}


def test_a_bucket_without_eventbridge_is_silent(cloud, handlers):
    events = []
    handlers.first = lambda event, context: events.append(event)
    s3 = cloud.client("s3")
    s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={})
    s3.put_object(Bucket="data", Key="to/first/a", Body=b"1")
    cloud.run_until_idle()
    assert events == []
    eventbridge = {"EventBridgeConfiguration": {}}
    s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration=eventbridge)
    s3.put_object(Bucket="data", Key="to/first/a", Body=b"1")
    cloud.run_until_idle()
    assert len(events) == 1


def test_a_target_that_the_rule_may_not_invoke_stops_the_run(cloud):
    """EventBridge would drop the event without a word."""
    cloud.client("s3").put_object(Bucket="data", Key="to/second/a", Body=b"1")
    with pytest.raises(DeliveryError, match="Rule second may not invoke second"):
        cloud.run_until_idle()


def test_a_function_has_its_own_environment_and_role(cloud, handlers, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "of-the-user")
    monkeypatch.setenv("BISON_LEFTOVER", "1")
    seen = {}

    def handler(event, context):
        import boto3

        seen[os.environ["BISON_WHO"]] = (
            boto3.session.Session().client("sts").get_caller_identity()["Arn"].split("/")[1],
            "AWS_PROFILE" in os.environ or "BISON_LEFTOVER" in os.environ,
            context.get_remaining_time_in_millis(),
        )

    handlers.first = handlers.second = handler
    for name in ("first", "second", "first"):
        cloud.invoke(name, {})
    cloud.run_until_idle()
    assert seen == {"first": ("first", False, 7000), "second": ("second", False, 7000)}
    assert "BISON_WHO" not in os.environ


def test_a_function_that_fails_is_run_three_times_and_then_stops_the_run(cloud, handlers):
    calls = []

    def handler(event, context):
        calls.append(event)
        if len(calls) < ATTEMPTS or event == "bad":
            raise RuntimeError("no luck")
        return {"message": "done"}

    handlers.first = handler
    cloud.invoke("first", "good")
    cloud.run_until_idle()
    assert calls == ["good"] * 3
    assert cloud.answers["first"] == {"message": "done"}
    cloud.invoke("first", "bad")
    with pytest.raises(FunctionFailedError, match="first failed 3 times: RuntimeError: no luck"):
        cloud.run_until_idle()
    assert calls == ["good"] * 3 + ["bad"] * 3


def test_functions_invoke_each_other_asynchronously_as_far_as_they_may(cloud, handlers):
    order = []
    refusals = []

    def first(event, context):
        import boto3

        client = boto3.session.Session().client("lambda")
        client.invoke(FunctionName="second", InvocationType="Event", Payload=b'{"n": 1}')
        refusals.append(refused(client.invoke, FunctionName="first", InvocationType="Event"))
        order.append("first")

    handlers.first, handlers.second = first, lambda event, context: order.append(event)
    cloud.invoke("first", {})
    cloud.run_until_idle()
    assert order == ["first", {"n": 1}]
    assert refusals == ["AccessDeniedException"]


def test_every_delivery_can_come_twice(cloud, handlers, monkeypatch):
    events = []
    handlers.first = lambda event, context: events.append(event)
    monkeypatch.setattr(cloud, "_deliver_twice", True)
    cloud.client("s3").put_object(Bucket="data", Key="to/first/a", Body=b"1")
    cloud.invoke("first", "by hand")
    cloud.run_until_idle()
    assert len(events) == 4
    assert events[0] == events[1]
    assert events[2:] == ["by hand"] * 2


def test_a_schedule_fires_only_with_a_role_that_may_invoke_its_target(cloud, handlers):
    events = []
    handlers.first = lambda event, context: events.append(event)
    cloud.fire(cloud.schedule_of("first"), datetime(2026, 10, 2, 12, tzinfo=UTC))
    cloud.run_until_idle()
    assert events == [{"time": "2026-10-02T12:00:00Z"}]
    cloud.client("iam").delete_role_policy(RoleName="scheduler", PolicyName="scheduled")
    with pytest.raises(DeliveryError, match=r"scheduler lacks lambda:InvokeFunction"):
        cloud.fire(cloud.schedule_of("first"), datetime(2026, 10, 2, 12, tzinfo=UTC))


def test_what_is_put_back_starts_nothing(cloud, handlers):
    events = []
    handlers.first = lambda event, context: events.append(event)
    with cloud.without_events():
        cloud.client("s3").put_object(Bucket="data", Key="to/first/a", Body=b"1")
    cloud.run_until_idle()
    assert events == []


def test_two_clouds_in_one_process_are_refused(cloud, tmp_path):
    with pytest.raises(RuntimeError, match="Another embedded cloud"), make_cloud(tmp_path):
        pass


def test_a_fault_of_the_endpoint_ends_the_run(cloud, monkeypatch):
    """A 500 alone would be retried by every client, and hide the reason."""
    monkeypatch.setattr(cloud._endpoint, "_ask_moto", lambda request, service: Path("/nowhere").read_text())
    with pytest.raises(ClientError):
        cloud._session.client("s3", config=Config(retries={"total_max_attempts": 1})).list_buckets()
    with pytest.raises(FileNotFoundError):
        cloud.run_until_idle()
