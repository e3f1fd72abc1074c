"""The project's own Pulumi program on the embedded cloud: a task on a fleet's instance, up to its marker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from infra.project import stack_config
from local.cloud.cloud import Cloud
from local.cloud.events import object_created
from local.cloud.public_bucket import PublicBucket
from workflow import names
from workflow.month import Month
from workflow.steps import STEPS

if TYPE_CHECKING:
    from pathlib import Path

MONTH = Month(2026, 10)
TEST_TASK = names.function_name(names.stack_prefix("local"), "test_task")


class Listener:
    def __init__(self) -> None:
        self.progressed: list[tuple[str, str, int, int]] = []

    def object_written(self, bucket: str, key: str, content: bytes) -> None: ...
    def object_deleted(self, bucket: str, key: str) -> None: ...

    def progress(self, step: str, label: str, done: int, total: int) -> None:
        self.progressed.append((step, label, done, total))


class NoDataApi:
    def close(self) -> None: ...


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("cloud")
    with Cloud(
        listener=Listener(),
        data_api=lambda _cloud: NoDataApi(),
        public_bucket=PublicBucket("gbif-open-data-us-east-1", folder / "gbif"),
        logs=folder,
        config=stack_config("local"),
    ) as cloud:
        cloud.folder = folder
        yield cloud


def instances(cloud: Cloud) -> list[dict]:
    reservations = cloud.client("ec2").describe_instances()["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]


def test_every_step_has_a_function_and_every_step_but_the_first_a_rule(cloud):
    prefix = names.stack_prefix("local")
    assert {names.function_name(prefix, step.name) for step in STEPS} <= set(cloud.program.functions)
    for step in STEPS:
        for before in step.after:
            key = names.success_key(MONTH, before)
            event = object_created(cloud.program.outputs["bucket"], key, 1, "etag", "PutObject")
            started = [
                target.arn.rsplit(":", 1)[-1]
                for rule in cloud.program.rules.values()
                if rule.matches(event)
                for target in cloud.program.targets[rule.name]
            ]
            assert started == [names.function_name(prefix, step.name)]


def test_a_task_runs_on_a_fleets_instance_and_leaves_its_marker(cloud):
    bucket = cloud.program.outputs["bucket"]
    cloud.client("s3").put_object(Bucket=bucket, Key=stack_config("local")["bison:riisKey"], Body=b"a register")
    cloud.invoke(TEST_TASK, {"month": str(MONTH)})
    cloud.run_until_idle()
    marker = json.loads(cloud.read(bucket, names.success_key(MONTH, "test_task")))
    assert (marker["month"], marker["step"], marker["attempt"]) == (MONTH.name, "test_task", 1)
    assert marker["counts"]["register_bytes"] == len("a register")
    assert cloud.listener.progressed == [("test_task", "Trying the machinery", 1, 1)]
    assert cloud.read(bucket, names.log_key(MONTH, "test_task", 1, "task.log"))
    (instance,) = instances(cloud)
    assert instance["State"]["Name"] == "terminated"
    assert {"Key": names.TAG_STEP, "Value": "test_task"} in instance["Tags"]
    assert (cloud.folder / "test_task_1.log").exists()


def test_a_launcher_without_a_right_is_refused_as_in_aws(cloud):
    """A policy that forgot ec2:CreateFleet, or iam:PassRole, would be found out in production only."""
    iam = cloud.client("iam")
    role = cloud.program.functions[TEST_TASK].role.rsplit("/", 1)[-1]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    before = len(instances(cloud))
    month = MONTH.next
    try:
        less = {**whole, "Statement": [each for each in whole["Statement"] if each["Action"] != "iam:PassRole"]}
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(less))
        cloud.invoke(TEST_TASK, {"month": str(month)})
        cloud.run_until_idle()
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))
    failure = json.loads(cloud.read(cloud.program.outputs["bucket"], names.failure_key(month, "test_task")))
    assert "iam:PassRole" in failure["error"]
    assert len(instances(cloud)) == before


def test_a_task_that_failed_is_left_to_a_person(cloud):
    """Its own error would come again: only a machine that vanished is replaced."""
    bucket, month = cloud.program.outputs["bucket"], MONTH.previous
    cloud.client("s3").put_object(Bucket=bucket, Key=stack_config("local")["bison:riisKey"], Body=b"")
    before = len(instances(cloud))
    cloud.invoke(TEST_TASK, {"month": str(month)})
    cloud.run_until_idle()
    failure = json.loads(cloud.read(bucket, names.failure_key(month, "test_task")))
    assert "is empty" in failure["error"]
    assert cloud.read(bucket, names.success_key(month, "test_task")) is None
    assert len(instances(cloud)) == before + 1
