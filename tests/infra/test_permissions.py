"""What the roles may do: read from the program's policies, not from the functions that made them."""

from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING, Any

import pytest
from whole_program import ACCOUNT, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = f"arn:aws:s3:::bison-{ACCOUNT}-us-east-1"

# Action: why AWS has nothing narrower than every resource for it.
EVERY_RESOURCE = {
    "ec2:DescribeInstances": "EC2's Describe actions know no resource",
    "redshift-data:DescribeStatement": "statements have no ARN",
    "redshift-data:GetStatementResult": "statements have no ARN",
    "redshift-data:CancelStatement": "statements have no ARN",
    "ecr:GetAuthorizationToken": "the token is the registry's",
    "ssm:UpdateInstanceInformation": "Session Manager's actions know no resource",
    "ssmmessages:CreateControlChannel": "Session Manager's actions know no resource",
    "ssmmessages:CreateDataChannel": "Session Manager's actions know no resource",
    "ssmmessages:OpenControlChannel": "Session Manager's actions know no resource",
    "ssmmessages:OpenDataChannel": "Session Manager's actions know no resource",
}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(policy: str) -> list[dict[str, Any]]:
    document = json.loads(run_program("prod").named(policy).inputs["policy"])
    assert document["Version"] == "2012-10-17"
    return list(document["Statement"])


def role_policies() -> list[str]:
    return [resource.name for resource in run_program("prod").of_type("aws:iam/rolePolicy:RolePolicy")]


def allowed(policy: str, action: str, resource: str) -> bool:
    """Whether a statement allows it, its conditions taken for met."""
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatch.fnmatchcase(action, pattern) for pattern in as_list(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        for statement in statements(policy)
    )


def every_statement() -> Iterator[tuple[str, dict[str, Any]]]:
    for policy in role_policies():
        for statement in statements(policy):
            yield policy, statement


def test_each_role_has_one_policy_of_its_own_and_none_of_aws_s() -> None:
    program = run_program("prod")
    roles = [role.name for role in program.of_type("aws:iam/role:Role")]
    assert sorted(role_policies()) == sorted(role.removesuffix("role") + "policy" for role in roles)
    assert not [r for r in program.resources if "rolePolicyAttachment" in r.type]


def test_no_action_is_a_pattern_and_every_resource_is_named_unless_aws_cannot() -> None:
    for policy, statement in every_statement():
        for action in as_list(statement["Action"]):
            assert "*" not in action, f"{policy}: {action}"
            if "*" in as_list(statement["Resource"]):
                assert action in EVERY_RESOURCE, f"{policy}: {action} on *"


def test_every_exception_is_still_needed() -> None:
    used = {a for _, s in every_statement() if s["Resource"] == "*" for a in as_list(s["Action"])}
    assert used == EVERY_RESOURCE.keys()


def test_every_resource_is_this_stack_s_or_public() -> None:
    """An ARN with a * for service, account or bucket reaches into everything else in the account."""
    for policy, statement in every_statement():
        for resource in as_list(statement["Resource"]):
            if resource != "*":
                *place, named = resource.split(":", 5)
                assert "*" not in "".join(place), f"{policy}: {resource}"
                if place[2] == "s3":
                    assert "*" not in named.split("/")[0], f"{policy}: {resource}"


def test_only_launchers_pass_a_role_and_only_the_machines_role_to_ec2() -> None:
    passing = [(policy, s) for policy, s in every_statement() if "iam:PassRole" in as_list(s["Action"])]
    assert [policy for policy, _ in passing] == [
        f"functions-{task}-policy" for task in ("test_task", "annotate_riis", "calc_stats")
    ]
    for _, statement in passing:
        assert statement["Action"] == "iam:PassRole"
        assert statement["Resource"].endswith("Role/tasks-role-0a1b2c3")
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


def test_only_this_stack_s_machines_can_be_ended() -> None:
    ending = {policy: s for policy, s in every_statement() if "ec2:TerminateInstances" in as_list(s["Action"])}
    assert len(ending) == 4
    for statement in ending.values():
        assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/bison:stack": "prod"}}


def test_a_launcher_starts_only_its_own_task_s_template() -> None:
    run = next(s for s in statements("functions-calc_stats-policy") if s["Action"] == "ec2:RunInstances")
    assert run["Condition"] == {
        "ArnEquals": {"ec2:LaunchTemplate": next(r for r in run["Resource"] if "Template" in r)}
    }
    assert [r.rsplit("/", 1)[1] for r in run["Resource"] if "LaunchTemplate" in r] == ["bison_calc_stats"]


OUTPUT = f"{BUCKET}/output/2026_11_01/state_counts.csv"
MARKER = f"{BUCKET}/run/2026_11_01/create_bison/success.json"
CITATION = "arn:aws:s3:::gbif-open-data-us-east-1/occurrence/2026-11-01/citation.txt"
GLUE_TABLES = f"arn:aws:glue:us-east-1:{ACCOUNT}:table"
REGISTER = f"{BUCKET}/input/US-RIIS_MasterList.csv"
ANNOTATED = f"{BUCKET}/input/US-RIIS_MasterList_annotated_2026_10_01.csv"


@pytest.mark.parametrize(
    ("policy", "action", "resource", "expected"),
    [
        ("functions-create_bison-policy", "s3:PutObject", MARKER, True),
        ("functions-create_bison-policy", "s3:PutObject", OUTPUT, False),
        ("functions-create_bison-policy", "ec2:CreateFleet", "*", False),
        ("functions-load_ancillary-policy", "s3:GetObject", REGISTER, True),
        ("functions-load_ancillary-policy", "s3:PutObject", REGISTER, False),
        ("functions-aggregate_region-policy", "s3:PutObject", OUTPUT, True),
        ("functions-aggregate_region-policy", "s3:DeleteObject", f"{BUCKET}/output/2026_11_01/manifest.json", False),
        ("functions-delete_obsolete-policy", "s3:DeleteObject", ANNOTATED, True),
        ("functions-delete_obsolete-policy", "s3:DeleteObject", REGISTER, False),
        ("functions-delete_obsolete-policy", "s3:DeleteObject", OUTPUT, False),
        ("functions-find_current_gbif-policy", "s3:DeleteObject", f"{BUCKET}/trigger/now.txt", True),
        ("functions-find_current_gbif-policy", "s3:DeleteObject", OUTPUT, False),
        ("functions-watcher-policy", "s3:PutObject", MARKER, False),
        ("functions-watcher-policy", "ec2:TerminateInstances", f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-0", False),
        ("functions-sweep-policy", "redshift-data:ExecuteStatement", "*", False),
        ("tasks-policy", "s3:PutObject", OUTPUT, True),
        ("tasks-policy", "s3:DeleteObject", OUTPUT, False),
        ("tasks-policy", "s3:GetObject", CITATION, True),
        ("tasks-policy", "s3:GetObject", "arn:aws:s3:::somebody-else/occurrence/x", False),
        ("tasks-policy", "ec2:TerminateInstances", "*", False),
        ("warehouse-policy", "s3:DeleteObject", f"{BUCKET}/summary/2026_11_01/state_counts/csv/000", True),
        ("warehouse-policy", "s3:DeleteObject", MARKER, False),
        ("warehouse-policy", "s3:PutObject", MARKER, False),
        ("warehouse-policy", "glue:DeleteTable", f"{GLUE_TABLES}/bison_gbif/occurrence_2026", True),
        ("warehouse-policy", "glue:DeleteTable", f"{GLUE_TABLES}/other/occurrence_2026", False),
    ],
)  # fmt: skip
def test_both_sides_of_a_right(policy: str, action: str, resource: str, expected: bool) -> None:
    assert allowed(policy, action, resource) is expected


def test_the_sweep_may_start_every_step_and_the_watcher_tasks_only() -> None:
    functions = set(run_program("prod").functions())

    def invoked(policy: str) -> set[str]:
        (found,) = [s for s in statements(policy) if s["Action"] == "lambda:InvokeFunction"]
        return {arn.rsplit(":", 1)[1] for arn in found["Resource"]}

    assert invoked("functions-sweep-policy") == functions - {"bison_sweep", "bison_watcher"}
    assert invoked("functions-watcher-policy") == {
        "bison_s0_test_task",
        "bison_s1_annotate_riis",
        "bison_s8_calc_stats",
    }
