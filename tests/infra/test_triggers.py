"""Which event starts which function: the program's own rules, read by moto's matcher of event patterns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.events.models import EventPattern
from whole_program import ACCOUNT, run_program

PROD_BUCKET = f"bison-{ACCOUNT}-us-east-1"
DEV_BUCKET = f"bison-dev-{ACCOUNT}-us-east-1"

# The month, written out: what each marker starts.
STARTED_BY_SUCCESS = {
    "find_current_gbif": "s1_annotate_riis",
    "annotate_riis": "s2_load_ancillary",
    "load_ancillary": "s3_create_bison",
    "create_bison": "s4_intersect_bison",
    "intersect_bison": "s5_assign_riis",
    "assign_riis": "s6_aggregate_region",
    "aggregate_region": "s7_delete_obsolete",
    "delete_obsolete": "s8_calc_stats",
}


def started(event: dict[str, Any], stack: str = "prod") -> list[str]:
    """Functions that the stack's rules hand the event to."""
    program = run_program(stack)
    functions = {f"arn:aws:lambda:us-east-1:{ACCOUNT}:Function/{name}": name for name in program.functions()}
    found = []
    for rule in program.of_type("aws:cloudwatch/eventRule:EventRule"):
        assert rule.inputs["state"] == "ENABLED"
        if EventPattern.load(rule.inputs["eventPattern"]).matches_event(event):
            targets = [
                target.inputs["arn"]
                for target in program.of_type("aws:cloudwatch/eventTarget:EventTarget")
                if target.inputs["rule"] == f"{rule.name}-0a1b2c3"
            ]
            assert len(targets) == 1, rule.name
            found += [functions[arn].removeprefix("bison_").removeprefix("dev_") for arn in targets]
    return found


def created(key: str, bucket: str = PROD_BUCKET) -> dict[str, Any]:
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 1}, "reason": "PutObject"}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}


def statement(name: str) -> dict[str, Any]:
    return {
        "source": "aws.redshift-data",
        "detail-type": "Redshift Data Statement Status Change",
        "detail": {"statementName": name, "statementId": "1", "state": "FINISHED", "rows": 1},
    }


def instance(state: str) -> dict[str, Any]:
    detail = {"instance-id": "i-0", "state": state}
    return {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": detail}


@pytest.mark.parametrize(("step", "function"), STARTED_BY_SUCCESS.items())
def test_a_step_s_success_starts_the_one_after_it_and_no_other(step: str, function: str) -> None:
    assert started(created(f"run/2026_11_01/{step}/success.json")) == [function]


@pytest.mark.parametrize(
    "key",
    [
        "run/2026_11_01/assign_riis/failure.json",
        "run/2026_11_01/calc_stats/success.json",
        "run/2026_11_01/test_task/success.json",
        "log/2026_11_01/assign_riis/1/success.json",
        "output/2026_11_01/manifest.json",
        "run/2026_11_01/assign_riis/success.json.bak",
    ],
)
def test_what_no_step_waits_for_starts_nothing(key: str) -> None:
    """A loop of writes and starts costs money until somebody notices."""
    assert started(created(key)) == []


def test_a_trigger_file_starts_the_check() -> None:
    assert started(created("trigger/2026-10.txt")) == ["find_current_gbif"]


def test_a_stack_hears_of_its_own_bucket_and_statements_only() -> None:
    """A dev month must not start prod's steps in the same account."""
    key = "run/2026_11_01/assign_riis/success.json"
    assert started(created(key, DEV_BUCKET)) == []
    assert started(created(key, DEV_BUCKET), "dev") == ["s6_aggregate_region"]
    assert started(statement("bison_dev/2026_11_01/assign_riis/3/1")) == []
    assert started(statement("bison_dev/2026_11_01/assign_riis/3/1"), "dev") == ["s5_assign_riis"]


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("bison/2026_11_01/load_ancillary/0/1", ["s2_load_ancillary"]),
        ("bison/2026_11_01/create_bison/12/3", ["s3_create_bison"]),
        ("bison/2026_11_01/delete_obsolete/0/1", ["s7_delete_obsolete"]),
        ("somebody/2026_11_01/create_bison/0/1", []),
        ("", []),
    ],
)
def test_a_statement_s_end_goes_to_its_step(name: str, functions: list[str]) -> None:
    assert started(statement(name)) == functions


def test_the_watcher_hears_of_ends_and_interruptions_only() -> None:
    """running and pending of every instance of the account would wake it for nothing."""
    heard = {
        state: started(instance(state)) for state in ("pending", "running", "stopping", "shutting-down", "terminated")
    }
    assert heard == {
        "pending": [], "running": [], "stopping": [], "shutting-down": ["watcher"], "terminated": ["watcher"],
    }  # fmt: skip
    interruption = {"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning", "detail": {}}
    assert started(interruption) == ["watcher"]


def test_each_rule_may_call_its_function_and_keeps_what_it_could_not_deliver() -> None:
    program = run_program("prod")
    for rule in program.of_type("aws:cloudwatch/eventRule:EventRule"):
        permission, target = (
            program.named(f"{rule.name}-permission").inputs,
            program.named(f"{rule.name}-target").inputs,
        )
        assert permission["sourceArn"].endswith(f"EventRule/{rule.name}-0a1b2c3")
        assert permission["principal"] == "events.amazonaws.com"
        assert target["arn"].endswith(f"Function/{permission['function']}")
        assert target["deadLetterConfig"]["arn"].endswith("Queue/dead-letters-queue-0a1b2c3")
    policy = json.loads(program.named("triggers-dead-letters").inputs["policy"])
    senders = policy["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert len(senders) == len(set(senders)) == len(program.of_type("aws:cloudwatch/eventRule:EventRule"))


def test_the_check_runs_twice_a_day_from_the_2nd_on_and_the_sweep_every_half_hour() -> None:
    program = run_program("prod")
    schedules = {s.name.removeprefix("triggers-"): s.inputs for s in program.of_type("aws:scheduler/schedule:Schedule")}
    assert {name: schedule["scheduleExpression"] for name, schedule in schedules.items()} == {
        "find_current_gbif": "cron(0/40 12 2-31 * ? *)",
        "sweep": "rate(30 minutes)",
    }
    for name, schedule in schedules.items():
        assert schedule["target"]["arn"].endswith(f"bison_{name}")
        # Scheduler replaces the whole word between the angle brackets; anything else arrives as it stands.
        assert json.loads(schedule["target"]["input"]) == {"time": "<aws.scheduler.scheduled-time>"}
        assert schedule["scheduleExpressionTimezone"] == "UTC"
        assert schedule["flexibleTimeWindow"] == {"mode": "OFF"}
        assert schedule["target"]["deadLetterConfig"]["arn"].endswith("Queue/dead-letters-queue-0a1b2c3")
    role = json.loads(program.named("triggers-scheduler-role").inputs["assumeRolePolicy"])
    assert role["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"].endswith(
        "ScheduleGroup/triggers-schedules-0a1b2c3"
    )
