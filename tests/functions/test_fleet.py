"""CreateFleet: the exact request, and what its errors mean."""

from __future__ import annotations

from dataclasses import replace

import boto3
import pytest
from botocore.validate import ParamValidator
from function_cloud import LAUNCHER, NOVEMBER

from functions.fleet import (
    NOTHING_GIVEN,
    Capacity,
    FleetError,
    Next,
    after_errors,
    capacities,
    errors_of,
    fleet_request,
    instances_of,
)

SMALL = replace(LAUNCHER, instance_types=("t4g.small", "m7g.medium"))


def request(attempt: int = 1, capacity: Capacity = Capacity.SPOT, max_price: float | None = None) -> dict[str, object]:
    launcher = replace(SMALL, max_price=max_price)
    body = fleet_request(
        stack="test",
        prefix="bison_test",
        month=NOVEMBER,
        step="calc_stats",
        attempt=attempt,
        capacity=capacity,
        launcher=launcher,
    )
    return dict(body)


def test_the_whole_request_for_spot() -> None:
    assert request() == {
        "Type": "instant",
        # sha256 of "fleet/test/2026_11_01/calc_stats/1/spot"
        "ClientToken": "c31a1b870fd377e25a773284e6ca4e225f49d784852586c5a446c5bf6b8f8e07",
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
        "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "bison_test_calc_stats", "Version": "$Latest"},
                "Overrides": [
                    {"InstanceType": "t4g.small", "SubnetId": "subnet-a"},
                    {"InstanceType": "t4g.small", "SubnetId": "subnet-b"},
                    {"InstanceType": "m7g.medium", "SubnetId": "subnet-a"},
                    {"InstanceType": "m7g.medium", "SubnetId": "subnet-b"},
                ],
            }
        ],
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "bison:stack", "Value": "test"},
                    {"Key": "bison:month", "Value": "2026_11_01"},
                    {"Key": "bison:step", "Value": "calc_stats"},
                    {"Key": "bison:attempt", "Value": "1"},
                ],
            }
        ],
    }


def test_on_demand_differs_in_capacity_strategy_and_token() -> None:
    spot, on_demand = request(), request(capacity=Capacity.ON_DEMAND)
    assert on_demand["TargetCapacitySpecification"] == {
        "TotalTargetCapacity": 1,
        "DefaultTargetCapacityType": "on-demand",
    }
    assert on_demand["OnDemandOptions"] == {"AllocationStrategy": "lowest-price"}
    assert "SpotOptions" not in on_demand
    assert spot["LaunchTemplateConfigs"] == on_demand["LaunchTemplateConfigs"]


def test_a_token_is_of_one_attempt_and_capacity() -> None:
    """The same token with other parameters gives IdempotentParameterMismatch; with the same ones, the old answer."""
    tokens = [request(attempt, capacity)["ClientToken"] for attempt in (1, 2) for capacity in Capacity]
    assert len(set(tokens)) == 4
    assert request()["ClientToken"] == tokens[0]
    assert all(len(str(token)) <= 64 for token in tokens)


def test_a_price_limit_is_for_spot_alone() -> None:
    def prices(capacity: Capacity) -> set[object]:
        (config,) = request(capacity=capacity, max_price=0.02)["LaunchTemplateConfigs"]  # type: ignore[misc]
        return {override.get("MaxPrice") for override in config["Overrides"]}

    assert prices(Capacity.SPOT) == {"0.02"}
    assert prices(Capacity.ON_DEMAND) == {None}


def test_botocore_takes_the_request() -> None:
    model = (
        boto3.session.Session(region_name="us-east-1").client("ec2").meta.service_model.operation_model("CreateFleet")
    )
    for capacity in Capacity:
        report = ParamValidator().validate(request(capacity=capacity, max_price=0.02), model.input_shape)
        assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(
    ("tries", "fallback", "wanted"),
    [
        (1, True, ("spot", "on-demand")),
        (1, False, ("spot",)),
        (2, True, ("on-demand",)),
        # Whoever switched on-demand machines off gets none, however often Spot takes one back.
        (3, False, ("spot",)),
    ],
)
def test_what_is_asked_for(tries: int, fallback: bool, wanted: tuple[str, ...]) -> None:
    assert capacities(tries, replace(LAUNCHER, on_demand_fallback=fallback)) == wanted


@pytest.mark.parametrize(
    ("codes", "tries", "last", "what"),
    [
        # Spot has none, on demand may.
        (("InsufficientInstanceCapacity",), 1, False, Next.TRY_ON_DEMAND),
        (("UnfulfillableCapacity",), 1, False, Next.TRY_ON_DEMAND),
        (("MaxSpotInstanceCountExceeded",), 1, False, Next.TRY_ON_DEMAND),
        (("SpotMaxPriceTooLow",), 1, False, Next.TRY_ON_DEMAND),
        (("InsufficientInstanceCapacity", "Unsupported"), 1, False, Next.TRY_ON_DEMAND),
        (("InternalError",), 1, False, Next.TRY_ON_DEMAND),
        ((NOTHING_GIVEN,), 1, False, Next.TRY_ON_DEMAND),
        # Neither has: another time, but not for ever.
        (("InsufficientInstanceCapacity",), 1, True, Next.WAIT),
        (("InsufficientInstanceCapacity",), 2, True, Next.WAIT),
        (("InsufficientInstanceCapacity",), 3, True, Next.GIVE_UP),
        # A quota is not mended by asking at once for something else.
        (("VcpuLimitExceeded",), 1, False, Next.WAIT),
        (("VcpuLimitExceeded",), 2, True, Next.WAIT),
        (("VcpuLimitExceeded",), 3, True, Next.GIVE_UP),
        (("VcpuLimitExceeded", "InsufficientInstanceCapacity"), 2, True, Next.WAIT),
        # Only another attempt has another token.
        (("IdempotentParameterMismatch",), 1, False, Next.WAIT),
        # A missing right is often reported beside UnfulfillableCapacity.
        (("UnauthorizedOperation",), 1, False, Next.GIVE_UP),
        (("UnauthorizedOperation", "UnfulfillableCapacity"), 1, False, Next.GIVE_UP),
        (("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "UnfulfillableCapacity"), 1, False, Next.GIVE_UP),
        # A mistake in the template is the same in an hour.
        (("InvalidLaunchTemplateName.NotFoundException",), 1, False, Next.GIVE_UP),
        (("InvalidParameterValue",), 2, True, Next.GIVE_UP),
    ],
)
def test_what_errors_mean(codes: tuple[str, ...], tries: int, last: bool, what: Next) -> None:
    assert after_errors([FleetError(code, "") for code in codes], tries, last_capacity=last) is what


def test_an_answer_is_read() -> None:
    error = {"ErrorCode": "UnfulfillableCapacity", "ErrorMessage": "none"}
    assert errors_of({"Errors": [error, error]}) == (FleetError("UnfulfillableCapacity", "none"),)  # type: ignore[typeddict-item]
    assert [each.code for each in errors_of({"FleetId": "fleet-1"})] == [NOTHING_GIVEN]  # type: ignore[typeddict-item]
    assert instances_of({"Instances": [{"InstanceIds": ["i-1"]}]}) == ("i-1",)  # type: ignore[typeddict-item]
    assert instances_of({"Errors": [error]}) == ()  # type: ignore[typeddict-item]
