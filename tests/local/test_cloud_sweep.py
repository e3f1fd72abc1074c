"""The sweep in the program's own cloud, under its own role: an event is lost, and the month goes on all the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from infra.project import stack_config
from local.cloud.cloud import Cloud
from local.cloud.functions import FunctionFailedError
from local.cloud.public_bucket import PublicBucket
from local.warehouse.data_api import Warehouse
from workflow import names
from workflow.markers import Marker
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime.now(UTC)
MONTH = Month(NOW.year, NOW.month)
SWEEP = "bison_local_sweep"


class Nobody:
    """Watches nothing."""

    def object_written(self, bucket: str, key: str, content: bytes) -> None: ...
    def object_deleted(self, bucket: str, key: str) -> None: ...
    def progress(self, step: str, label: str, done: int, total: int) -> None: ...


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud(
        listener=Nobody(),
        data_api=lambda cloud: Warehouse(None, cloud.warehouse_client, {}, cloud.statement_ended, folder),
        public_bucket=PublicBucket("gbif-open-data-us-east-1", folder / "gbif"),
        logs=folder,
        config=stack_config("local"),
    ) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def every_event_is_lost(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """EventBridge's delivery is best effort. Each test begins with an empty bucket."""
    monkeypatch.setattr(cloud.program, "rules", {})
    bucket = cloud.program.outputs["bucket"]
    for key in cloud.keys(bucket):
        cloud.client("s3").delete_object(Bucket=bucket, Key=key)


def mark(cloud: Cloud, step: str) -> None:
    now = datetime.now(UTC).isoformat()
    marker = Marker(MONTH.name, step, 1, now, now)
    cloud.client("s3").put_object(Bucket=cloud.program.outputs["bucket"], Key=marker.key, Body=marker.to_json())


def sweep(cloud: Cloud, minutes: int) -> str:
    """What the sweep says when its schedule fires so many minutes from now, and all that it calls is done."""
    cloud.fire(cloud.schedule_of(SWEEP), datetime.now(UTC) + timedelta(minutes=minutes))
    cloud.run_until_idle()
    return str(cloud.answers[SWEEP]["message"])


def test_a_month_without_events_goes_on_by_the_sweep_alone(cloud: Cloud) -> None:
    """The right that the sweep lacks would be missed only when AWS has lost an event."""
    assert sweep(cloud, 10) == "All is in order."
    mark(cloud, "aggregate_region")
    assert sweep(cloud, 10) == "All is in order."
    assert sweep(cloud, 20) == f"called delete_obsolete of {MONTH}."
    assert cloud.answers["bison_local_s7_delete_obsolete"]["status"] == "started"
    assert sweep(cloud, 20) == f"called delete_obsolete of {MONTH}."
    assert cloud.answers["bison_local_s7_delete_obsolete"]["status"] == "done"
    assert cloud.read(cloud.program.outputs["bucket"], names.success_key(MONTH, "delete_obsolete")) is not None


def test_machines_whose_step_is_over_are_ended_and_those_of_others_are_not(cloud: Cloud) -> None:
    mark(cloud, "test_task")
    ec2 = cloud.client("ec2")
    started = {}
    for stack in ("local", "another"):
        tags = names.instance_tags(stack, MONTH, "test_task", 1)
        answer = ec2.run_instances(
            ImageId="ami-12c6146b",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
        started[stack] = answer["Instances"][0]["InstanceId"]
    assert f"ended {started['local']} ({MONTH} test_task, attempt 1): its task has ended" in sweep(cloud, 20)
    states = {
        instance["InstanceId"]: instance["State"]["Name"]
        for group in ec2.describe_instances(InstanceIds=list(started.values()))["Reservations"]
        for instance in group["Instances"]
    }
    assert states == {started["local"]: "terminated", started["another"]: "running"}


@pytest.mark.parametrize("action", ["s3:ListBucket", "s3:GetObject", "ec2:DescribeInstances", "lambda:InvokeFunction"])
def test_each_right_of_the_sweep_is_needed(cloud: Cloud, action: str) -> None:
    """If not, the tests above would prove nothing about its policy."""
    mark(cloud, "find_current_gbif")
    iam, role = cloud.client("iam"), cloud.program.functions[SWEEP].role.rsplit("/", 1)[-1]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    less = whole | {"Statement": [each for each in whole["Statement"] if each["Action"] != action]}
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(less))
    try:
        with pytest.raises(FunctionFailedError, match=action):
            sweep(cloud, 20)
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))
