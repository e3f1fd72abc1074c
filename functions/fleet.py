"""One instance by CreateFleet: the request, and what its errors mean. Pure functions, no AWS call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from workflow import names
from workflow.steps import MAX_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_ec2.type_defs import CreateFleetRequestTypeDef, CreateFleetResultTypeDef

    from workflow.environment import LauncherSettings
    from workflow.month import Month

NOTHING_GIVEN = "NothingGiven"
"""Our own code for an answer with neither an instance nor an error."""

CAPACITY_ERRORS = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientFreeAddressesInSubnet",
        "UnfulfillableCapacity",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        NOTHING_GIVEN,
        # A type that one zone does not have: another of the overrides may.
        "Unsupported",
        "InvalidFleetConfiguration",
    }
)
"""There is no machine of this kind to be had just now."""

QUOTA_ERRORS = frozenset({"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxFleetCountExceeded"})
"""The account may not have more machines at once: wait until one ends, or ask AWS for more."""

PERMISSION_ERRORS = frozenset(
    {"UnauthorizedOperation", "AuthFailure", "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "AccessDenied"}
)
"""Nothing will change until a person changes a policy. Often beside UnfulfillableCapacity."""

OUTDATED_ERRORS = frozenset({"IdempotentParameterMismatch"})
"""This attempt asked before with other parameters (a deployment in between): only another attempt can ask anew."""

TRANSIENT_ERRORS = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "InternalError", "InternalFailure", "Unavailable"}
    | {"ServiceUnavailable", "RequestTimeout", "InternalServerError"}
)
"""AWS's own trouble of the moment."""


class Capacity(StrEnum):
    """How the instance is paid, in CreateFleet's words."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True)
class FleetError:
    """An error that CreateFleet gave, as a member of its answer or as the answer itself."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Next(Enum):
    """What to do after a fleet that gave no instance."""

    TRY_ON_DEMAND = "try on demand at once"
    WAIT = "leave it to the sweep, which starts the next attempt"
    GIVE_UP = "fail, for a person to mend"


def capacities(tries: int, launcher: LauncherSettings) -> tuple[Capacity, ...]:
    """What to ask for, in order. tries: 1 for a first attempt; a later one is not to be interrupted again."""
    if not launcher.on_demand_fallback:
        return (Capacity.SPOT,)
    return (Capacity.SPOT, Capacity.ON_DEMAND) if tries == 1 else (Capacity.ON_DEMAND,)


def after_errors(errors: Iterable[FleetError], tries: int, last_capacity: bool) -> Next:
    """What the errors of a fleet without an instance mean.

    tries: which attempt this is, from 1. last_capacity: whether ``capacities`` has nothing more to ask for.
    """
    codes = {error.code for error in errors}
    if codes & PERMISSION_ERRORS:
        return Next.GIVE_UP
    if codes & (CAPACITY_ERRORS | TRANSIENT_ERRORS) and not last_capacity:
        return Next.TRY_ON_DEMAND
    passing = codes & (CAPACITY_ERRORS | TRANSIENT_ERRORS | QUOTA_ERRORS | OUTDATED_ERRORS)
    return Next.WAIT if passing and tries < MAX_ATTEMPTS else Next.GIVE_UP


def errors_of(answer: CreateFleetResultTypeDef) -> tuple[FleetError, ...]:
    """Why an answer holds no instance: its errors, each once, though there may be one for every type and subnet."""
    errors = (FleetError(each.get("ErrorCode", ""), each.get("ErrorMessage", "")) for each in answer.get("Errors", ()))
    nothing = FleetError(NOTHING_GIVEN, "CreateFleet gave neither an instance nor an error")
    return tuple(dict.fromkeys(errors)) or (nothing,)


def instances_of(answer: CreateFleetResultTypeDef) -> tuple[str, ...]:
    """The identifiers of the instances in an answer."""
    return tuple(identifier for each in answer.get("Instances", ()) for identifier in each.get("InstanceIds", ()))


def fleet_request(
    *,
    stack: str,
    prefix: str,
    month: Month,
    step: str,
    attempt: int,
    capacity: Capacity,
    launcher: LauncherSettings,
) -> CreateFleetRequestTypeDef:
    """CreateFleet's parameters: one instance, at once or not at all, of any of the types in any of the subnets.

    The token holds whatever may differ between two honest requests: the same one with other parameters is an error.
    """
    price = {"MaxPrice": str(launcher.max_price)} if capacity is Capacity.SPOT and launcher.max_price else {}
    overrides: list[Any] = [
        {"InstanceType": instance_type, "SubnetId": subnet, **price}
        for instance_type in launcher.instance_types
        for subnet in launcher.subnets
    ]
    tags = names.instance_tags(stack, month, step, attempt)
    template = {"LaunchTemplateName": names.launch_template_name(prefix, step), "Version": "$Latest"}
    request: CreateFleetRequestTypeDef = {
        "Type": "instant",
        "ClientToken": names.token("fleet", stack, month.name, step, attempt, capacity.value),
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": capacity.value,
        },
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": template, "Overrides": overrides}],  # type: ignore[typeddict-item]
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    }
    if capacity is Capacity.SPOT:
        request["SpotOptions"] = {"AllocationStrategy": "price-capacity-optimized"}
    else:
        request["OnDemandOptions"] = {"AllocationStrategy": "lowest-price"}
    return request
