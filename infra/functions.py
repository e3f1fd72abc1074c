"""The Lambda functions: one a step, the watcher of instances, and the sweep that finds what no event told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra.code import code_archive, code_hash
from infra.permissions import SWEEP, WATCHER, FunctionResources, Place, function_policy, trust_policy
from infra.project import PROJECT_FOLDER
from workflow import names
from workflow.environment import FunctionSettings, LauncherSettings
from workflow.steps import STEPS, Kind, get_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import Settings

FUNCTIONS: tuple[str, ...] = (*(step.name for step in STEPS), WATCHER, SWEEP)
"""Every function, by its step's name or what it is."""

_HANDLERS = {Kind.CHECK: "find_current_gbif", Kind.SQL: "sql_step", Kind.TASK: "task_step"}
_OWN_HANDLERS = ("delete_obsolete", WATCHER, SWEEP)

_LONG = ("aggregate_region", "delete_obsolete", SWEEP)
"""They copy, delete or look at many things: up to 5 minutes. The others start something and are gone within one."""

EVENT_AGE_SECONDS = 6 * 60 * 60
"""How long Lambda tries to run a function for an event (AWS's own default); the sweep finds what is lost later."""

RETRIES = 2


@dataclass(frozen=True)
class FunctionsArgs:
    """What the functions work on. Names and ARNs as AWS has them; launch_templates: ARNs by step."""

    settings: Settings
    place: pulumi.Output[Place]
    bucket: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    gbif_bucket_arn: str
    workgroup: pulumi.Input[str]
    workgroup_arn: pulumi.Input[str]
    database: str
    external_schema: str
    glue_database: pulumi.Input[str]
    image: pulumi.Input[str]
    instance_role_arn: pulumi.Input[str]
    security_group_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[list[str]]
    launch_templates: Mapping[str, pulumi.Input[str]]
    dead_letters_arn: pulumi.Input[str]


class Functions(pulumi.ComponentResource):
    """functions, roles: by step's name, WATCHER and SWEEP."""

    def __init__(self, name: str, args: FunctionsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:functions:Functions", name, None, opts)
        self._name, self._args = name, args
        self._code = code_archive(PROJECT_FOLDER)
        self._code_hash = code_hash(PROJECT_FOLDER)
        self._resources = pulumi.Output.all(
            place=args.place,
            bucket=args.bucket_arn,
            workgroup=args.workgroup_arn,
            instance_role=args.instance_role_arn,
            security_group=args.security_group_arn,
            subnet_ids=args.subnet_ids,
            launch_templates=dict(args.launch_templates),
            dead_letters=args.dead_letters_arn,
        ).apply(self._function_resources)
        self.roles: dict[str, aws.iam.Role] = {}
        self.functions = {function: self._function(function) for function in FUNCTIONS}
        self.register_outputs({"names": [function_name(args.settings.prefix, function) for function in FUNCTIONS]})

    def _function(self, function: str) -> aws.lambda_.Function:
        name, args, settings = f"{self._name}-{function}", self._args, self._args.settings
        child = pulumi.ResourceOptions(parent=self)
        aws_name = function_name(args.settings.prefix, function)
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/lambda/{aws_name}",
            retention_in_days=settings.log_retention_days,
            opts=child,
        )
        role = aws.iam.Role(
            f"{name}-role",
            description=f"Lambda function {aws_name}.",
            assume_role_policy=pulumi.Output.json_dumps(trust_policy("lambda.amazonaws.com")),
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-policy",
            role=role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(log_group=logs.arn, place=args.place, to=self._resources).apply(
                    lambda of: function_policy(function, **of)
                )
            ),
            opts=child,
        )
        made = aws.lambda_.Function(
            name,
            name=aws_name,
            description=description(function),
            runtime="python3.13",
            architectures=["arm64"],  # a fifth cheaper than x86
            handler=handler(function),
            code=self._code,
            role=role.arn,
            timeout=300 if function in _LONG else 60,
            memory_size=256,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=self._environment(function)),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="JSON", log_group=logs.name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        aws.lambda_.FunctionEventInvokeConfig(
            f"{name}-failures",
            function_name=made.name,
            maximum_event_age_in_seconds=EVENT_AGE_SECONDS,
            maximum_retry_attempts=RETRIES,
            destination_config=aws.lambda_.FunctionEventInvokeConfigDestinationConfigArgs(
                on_failure=aws.lambda_.FunctionEventInvokeConfigDestinationConfigOnFailureArgs(
                    destination=args.dead_letters_arn
                )
            ),
            opts=child,
        )
        self.roles[function] = role
        return made

    def _environment(self, function: str) -> pulumi.Output[dict[str, str]]:
        args = self._args
        return pulumi.Output.all(
            bucket=args.bucket,
            workgroup=args.workgroup,
            glue_database=args.glue_database,
            image=args.image,
            subnet_ids=args.subnet_ids,
        ).apply(lambda of: self._variables(function, **of))

    def _variables(
        self, function: str, *, bucket: str, workgroup: str, glue_database: str, image: str, subnet_ids: list[str]
    ) -> dict[str, str]:
        args, settings = self._args, self._args.settings
        is_step = function not in (WATCHER, SWEEP)
        variables = FunctionSettings(
            stack=settings.stack,
            prefix=settings.prefix,
            bucket=bucket,
            gbif_bucket=settings.gbif_bucket,
            code=self._code_hash,
            workgroup=workgroup,
            database=args.database,
            external_schema=args.external_schema,
            glue_database=glue_database,
            riis_key=settings.riis_key,
            county_key=settings.county_key,
            aiannh_key=settings.aiannh_key,
            country_codes=settings.country_codes,
            basis_of_record=settings.basis_of_record,
            snapshot_settle_minutes=settings.snapshot_settle_minutes,
            step=function if is_step else None,
        ).to_environ()
        if is_step and get_step(function).kind is Kind.TASK:
            variables |= LauncherSettings(
                image=image,
                instance_types=settings.spot_instance_types,
                subnets=tuple(subnet_ids),
                on_demand_fallback=settings.on_demand_fallback,
                max_price=settings.spot_max_price,
            ).to_environ()
        return variables

    def _function_resources(self, of: dict[str, Any]) -> FunctionResources:
        place: Place = of.pop("place")
        subnets = tuple(place.ec2_arn(f"subnet/{subnet}") for subnet in of.pop("subnet_ids"))
        key_pair = self._args.settings.key_name
        return FunctionResources(gbif_bucket=self._args.gbif_bucket_arn, key_pair=key_pair, subnets=subnets, **of)


def function_name(prefix: str, function: str) -> str:
    """A step's function is named by its label, the others by what they are."""
    return f"{prefix}_{function}" if function in (WATCHER, SWEEP) else names.function_name(prefix, function)


def handler(function: str) -> str:
    """Where Lambda finds the function's code: ``functions.<module>.handler``."""
    module = function if function in _OWN_HANDLERS else _HANDLERS[get_step(function).kind]
    return f"functions.{module}.handler"


def description(function: str) -> str:
    """What the function is for, in the console."""
    if function == WATCHER:
        return "Hears of the end of a task's machine, and starts the next attempt"
    if function == SWEEP:
        return "Finds what no event told: statements, tasks past their limit, machines without a step"
    return get_step(function).title
