"""Who may do what: IAM's policy evaluation over the roles and policies that the program made in moto.

moto keeps the roles. Its own check knows no conditions and takes the resource of most requests for ``*``, which refuses
every policy that names one. So a request is translated into the permissions that AWS asks for (see ``calls``), each
with its resource and condition keys, and the caller's policies are evaluated here by IAM's rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

ACCOUNT = "123456789012"
REGION = "us-east-1"
PARTITION = "aws"

Document = Mapping[str, Any]


class AccessDeniedError(Exception):
    """The caller's policies do not allow the request."""


@dataclass(frozen=True)
class Permission:
    """What a request needs: an action on a resource, with the condition keys (lower case) that AWS would know."""

    action: str
    resource: str = "*"
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Caller:
    """Whoever signed a request. user_id: ``aws:userid``. documents: policies; None for the operator."""

    arn: str
    user_id: str
    documents: tuple[Document, ...] | None


OPERATOR = Caller(f"arn:{PARTITION}:iam::{ACCOUNT}:root", ACCOUNT, None)
ANYBODY = Caller("anonymous", "", ())


def assumed_role(access_key_id: str, session_token: str | None) -> Caller:
    """The caller behind credentials of AssumeRole. Raises AccessDeniedError for credentials that nobody was given."""
    for session in sts_backends[ACCOUNT][PARTITION].assumed_roles:
        if session.access_key_id == access_key_id and session.session_token == session_token:
            role = session.role_arn.rsplit("/", 1)[-1]
            arn = f"arn:{PARTITION}:sts::{ACCOUNT}:assumed-role/{role}/{session.session_name}"
            return Caller(arn, session.user_id, role_documents(role))
    raise AccessDeniedError("The security token included in the request is invalid.")


def role_documents(role_name: str) -> tuple[Document, ...]:
    """A role's inline and attached policies, as moto has them now."""
    iam = iam_backends[ACCOUNT][PARTITION]
    role = iam.get_role(role_name)
    inline = [iam.get_role_policy(role_name, name)[1] for name in iam.list_role_policies(role_name)]
    attached = [
        version.document
        for policy in role.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    return tuple(json.loads(document) for document in [*inline, *attached])


def authorize(caller: Caller, permissions: Iterable[Permission], resource_policies: Iterable[Document] = ()) -> None:
    """Hold a request against the caller's policies; a bucket's own policy can refuse besides.

    Raises AccessDeniedError that names who, what and on what, as AWS does.
    """
    resource_policies = tuple(resource_policies)
    for needed in permissions:
        permission = replace(needed, context={**needed.context, "aws:userid": (caller.user_id,)})
        denied = is_denied((*(caller.documents or ()), *resource_policies), permission)
        allowed = caller.documents is None or is_allowed(caller.documents, permission)
        if denied or not allowed:
            reason = "an explicit deny" if denied else "no identity-based policy allows the action"
            raise AccessDeniedError(
                f"User: {caller.arn} is not authorized to perform: {permission.action} "
                f"on resource: {permission.resource} because {reason}"
            )


def is_allowed(documents: Iterable[Document], permission: Permission) -> bool:
    """Whether a statement of the policies allows it; another one may deny it all the same."""
    return any(_applies(statement, permission) for statement in _statements(documents, "Allow"))


def is_denied(documents: Iterable[Document], permission: Permission) -> bool:
    """Whether a statement of the policies denies it."""
    return any(_applies(statement, permission) for statement in _statements(documents, "Deny"))


def trusts(trust_policy: Document, service: str, source_arn: str | None = None) -> bool:
    """Whether a role's trust policy lets an AWS service (``lambda.amazonaws.com``) assume it.

    source_arn: what of this account the service acts for, where AWS names it.
    """
    context: dict[str, tuple[str, ...]] = {"aws:sourceaccount": (ACCOUNT,)}
    if source_arn is not None:
        context["aws:sourcearn"] = (source_arn,)
    return any(
        "sts:AssumeRole" in _as_list(statement["Action"])
        and service in _as_list(statement["Principal"].get("Service", ()))
        and conditions_hold(statement.get("Condition", {}), context)
        for statement in _statements([trust_policy], "Allow")
    )


def parse_document(text: str) -> Any:
    """A policy, or any JSON, from its text."""
    return json.loads(text)


def _statements(documents: Iterable[Document], effect: str) -> Iterable[Document]:
    for document in documents:
        for statement in _as_list(document["Statement"]):
            if statement["Effect"] == effect:
                yield statement


def _applies(statement: Document, permission: Permission) -> bool:
    return (
        _element_matches(statement, "Action", permission.action, ignore_case=True)
        and _element_matches(statement, "Resource", permission.resource, ignore_case=False)
        and conditions_hold(statement.get("Condition", {}), permission.context)
    )


def _element_matches(statement: Document, element: str, value: str, *, ignore_case: bool) -> bool:
    if f"Not{element}" in statement:
        return not any(_like(pattern, value, ignore_case) for pattern in _as_list(statement[f"Not{element}"]))
    return any(_like(pattern, value, ignore_case) for pattern in _as_list(statement.get(element, ())))


def _like(pattern: str, value: str, ignore_case: bool = False) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda expected, actual: expected == actual,
    "StringEqualsIgnoreCase": lambda expected, actual: expected.lower() == actual.lower(),
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda expected, actual: expected.lower() == actual.lower(),
    "NumericEquals": lambda expected, actual: float(expected) == float(actual),
    "NumericLessThanEquals": lambda expected, actual: float(actual) <= float(expected),
}
_NEGATED = {f"{kind[:-4]}Not{kind[-4:]}" if kind.endswith("Like") else f"{kind[:-6]}Not{kind[-6:]}": kind
            for kind in ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "NumericEquals")}  # fmt: skip


def conditions_hold(conditions: Document, context: Mapping[str, tuple[str, ...]]) -> bool:
    """IAM's condition block: every operator and every key must hold; of a key's values one suffices.

    Raises NotImplementedError for an operator that is not evaluated here, rather than guess.
    """
    return all(
        _condition_holds(operator, key, [str(value) for value in _as_list(expected)], context)
        for operator, block in conditions.items()
        for key, expected in block.items()
    )


def _condition_holds(operator: str, key: str, expected: list[str], context: Mapping[str, tuple[str, ...]]) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    optional = plain.endswith("IfExists")
    plain = plain.removesuffix("IfExists")
    actual = context.get(key.lower())
    if plain == "Null":
        return (actual is None) == (expected[0].lower() == "true")
    negated = plain in _NEGATED
    compare = _OPERATORS.get(_NEGATED.get(plain, plain))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise NotImplementedError(
            f"A policy has the condition operator {operator}, which the local run cannot evaluate."
        )
    if actual is None:
        return optional or negated or quantifier == "ForAllValues"
    wanted = [_VARIABLE.sub(lambda match: _value_of(match[1], context), value) for value in expected]
    matches = [any(compare(value, found) for value in wanted) != negated for found in actual]
    return any(matches) if quantifier == "ForAnyValue" else all(matches)


_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def _value_of(variable: str, context: Mapping[str, tuple[str, ...]]) -> str:
    values = context.get(variable.lower())
    if values is None or len(values) != 1:
        raise NotImplementedError(f"A policy has the variable ${{{variable}}}, which the local run does not know.")
    return values[0]


def _as_list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]
