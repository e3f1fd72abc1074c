"""IAM's evaluation rules, as the IAM User Guide ("Policy evaluation logic", "Condition operators") gives them."""

from __future__ import annotations

import pytest

from local.cloud.access import AccessDeniedError, Caller, Permission, authorize, conditions_hold, trusts

OBJECT = "arn:aws:s3:::data/run/2026_10_01/x.json"


def caller(*statements: dict) -> Caller:
    return Caller("arn:aws:sts::123456789012:assumed-role/f/local", "AROAF:local", ({"Statement": list(statements)},))


def allow(action, resource="*", **more) -> dict:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (allow("s3:GetObject", "arn:aws:s3:::data/run/*"), True),
        (allow("s3:Get*", ["arn:aws:s3:::other/*", "arn:aws:s3:::data/*"]), True),
        (allow("S3:getobject", "*"), True),  # actions know no case
        (allow("s3:GetObject", "arn:aws:s3:::DATA/run/*"), False),  # resources do
        (allow("s3:PutObject", "arn:aws:s3:::data/run/*"), False),
        (allow("s3:GetObject", "arn:aws:s3:::data/log/*"), False),
        (allow("s3:GetObject", "arn:aws:s3:::data/run"), False),
        (allow("s3:GetObject", "arn:aws:s3:::data/run/*/?.json"), True),
        # A dot is no wildcard.
        (allow("s3:GetObject", "arn:aws:s3:::data/run/*/x.j.on"), False),
        ({"Effect": "Allow", "NotAction": "s3:DeleteObject", "Resource": "*"}, True),
        ({"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"}, False),
        ({"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::data/run/*"}, False),
    ],
)
def test_a_policy_that_forgets_a_right_or_names_another_object_is_found_out(statement, allowed):
    if allowed:
        authorize(caller(statement), [Permission("s3:GetObject", OBJECT)])
    else:
        with pytest.raises(AccessDeniedError, match=r"assumed-role/f/local .* perform: s3:GetObject on resource: arn"):
            authorize(caller(statement), [Permission("s3:GetObject", OBJECT)])


def test_a_deny_beats_every_allow_whether_the_callers_or_the_buckets():
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    with pytest.raises(AccessDeniedError, match="explicit deny"):
        authorize(caller(allow("s3:*"), deny), [Permission("s3:GetObject", OBJECT)])
    with pytest.raises(AccessDeniedError, match="explicit deny"):
        authorize(caller(allow("s3:*")), [Permission("s3:GetObject", OBJECT)], [{"Statement": deny}])


def test_every_permission_of_a_request_is_needed():
    """A CopyObject with the right to write but not to read its source would pass unseen."""
    needed = [Permission("s3:PutObject", OBJECT), Permission("s3:GetObject", OBJECT)]
    with pytest.raises(AccessDeniedError, match="s3:GetObject"):
        authorize(caller(allow("s3:PutObject")), needed)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:RequestTag/bison:stack": "local"}}, True),
        ({"StringEquals": {"aws:RequestTag/bison:stack": ["dev", "local"]}}, True),
        ({"StringEquals": {"aws:RequestTag/bison:stack": "dev"}}, False),
        ({"StringEquals": {"aws:RequestTag/other": "local"}}, False),  # a key that the request lacks
        ({"StringEqualsIfExists": {"aws:RequestTag/other": "local"}}, True),
        ({"StringNotEquals": {"aws:RequestTag/other": "local"}}, True),
        ({"StringNotEquals": {"aws:RequestTag/bison:stack": ["dev", "local"]}}, False),
        ({"StringLike": {"aws:RequestTag/bison:stack": "lo*"}}, True),
        ({"StringNotLike": {"aws:RequestTag/bison:stack": "lo*"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, True),
        ({"Null": {"aws:TagKeys": "false"}}, True),
        ({"Null": {"aws:RequestTag/other": "false"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"StringEquals": {"owner": "${aws:userid}"}}, True),
        # All operators and all keys must hold.
        ({"StringEquals": {"aws:RequestTag/bison:stack": "local", "owner": "somebody"}}, False),
    ],
)
def test_conditions(condition, holds):
    context = {
        "aws:requesttag/bison:stack": ("local",),
        "aws:tagkeys": ("a", "b"),
        "aws:securetransport": ("true",),
        "aws:userid": ("AROAF:local",),
        "owner": ("AROAF:local",),
    }
    assert conditions_hold(condition, context) is holds


def test_what_is_not_evaluated_stops_the_run_instead_of_passing():
    with pytest.raises(NotImplementedError, match="IpAddress"):
        conditions_hold({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:sourceip": ("10.0.0.1",)})


def test_a_role_is_assumed_only_by_whom_it_trusts():
    policy = {
        "Statement": {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:scheduler:us-east-1:123456789012:schedule-group/g"}},
        }
    }
    group = "arn:aws:scheduler:us-east-1:123456789012:schedule-group/"
    assert trusts(policy, "scheduler.amazonaws.com", f"{group}g")
    assert not trusts(policy, "scheduler.amazonaws.com", f"{group}other")
    assert not trusts(policy, "scheduler.amazonaws.com")
    assert not trusts(policy, "lambda.amazonaws.com", f"{group}g")
