"""The whole Pulumi program, run under mocks that see every request as the engine would."""

from __future__ import annotations

import asyncio
import gc
import os
import runpy
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc

from infra.project import PROJECT_FOLDER, project_name, stack_config

ACCOUNT = "210987654321"
REGION = "us-east-1"
REPOSITORY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/tasks"
SUBNETS = ["subnet-0b", "subnet-0a"]


@dataclass(frozen=True)
class Registered:
    """A resource as the program asked for it. inputs: camelCase, without None; parent, provider, depends_on: URNs."""

    type: str
    name: str
    urn: str
    custom: bool
    parent: str
    provider: str
    protect: bool
    retain: bool
    depends_on: tuple[str, ...]
    inputs: dict[str, Any]


@dataclass
class Program:
    resources: list[Registered] = field(default_factory=list)
    invokes: list[tuple[str, str]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, type_: str) -> list[Registered]:
        found = [resource for resource in self.resources if resource.type == type_]
        assert found, f"The program registers no {type_}."
        return found

    def named(self, name: str) -> Registered:
        (found,) = [resource for resource in self.resources if resource.name == name]
        return found

    def functions(self) -> dict[str, Registered]:
        return {function.inputs["name"]: function for function in self.of_type("aws:lambda/function:Function")}


class _Aws(mocks.Mocks):
    """Answers with what AWS would make up: identifiers, ARNs and the names that Pulumi adds random letters to."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.typ.startswith("bison:"):
            return None, dict(args.inputs)
        # What the program may refer to of each type; anything else stays None and is found by the tests.
        service = args.typ.split(":")[1].split("/")[0]
        kind = args.typ.split(":")[-1]
        name = args.inputs.get("name", f"{args.name}-0a1b2c3")
        identifier = f"{args.name}-id"
        made: dict[str, Any] = {"arn": f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}/{name}"}
        if kind in ("Role", "Function", "EventRule", "LogGroup", "ScheduleGroup", "Repository", "CatalogDatabase"):
            made["name"] = name
        if kind == "Queue":
            made["url"] = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        if kind == "Namespace":
            made["adminPasswordSecretArn"] = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:admin"
        if kind == "Repository":
            made |= {"repositoryUrl": REPOSITORY, "registryId": ACCOUNT}
        if kind == "Bucket":
            made["arn"] = f"arn:aws:s3:::{args.inputs['bucket']}"
        if kind == "Image":
            made["ref"] = f"{REPOSITORY}:0123456789abcdef@sha256:{'1' * 64}"
        return identifier, {**args.inputs, **made}

    def call(self, args: mocks.MockCallArgs) -> Any:
        answers = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT, "arn": "arn", "userId": "me"},
            "aws:ec2/getVpc:getVpc": {"id": "vpc-0default"},
            "aws:ec2/getSubnet:getSubnet": {"vpcId": "vpc-0own"},
            "aws:ec2/getSubnets:getSubnets": {"ids": SUBNETS},
            "aws:ecr/getAuthorizationToken:getAuthorizationToken": {"userName": "AWS", "password": "secret"},
        }
        return answers[args.token]


class _Monitor(mocks.MockMonitor):
    def __init__(self, program: Program) -> None:
        super().__init__(_Aws())
        self.program = program

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        self.program.invokes.append((request.tok, request.provider))
        return super().Invoke(request)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        if request.type != "pulumi:pulumi:Stack":
            self.program.resources.append(
                Registered(
                    type=request.type,
                    name=request.name,
                    urn=self.make_urn(request.parent, request.type, request.name),
                    custom=request.custom,
                    parent=request.parent,
                    provider=request.provider,
                    protect=request.protect,
                    retain=request.retainOnDelete,
                    depends_on=tuple(request.dependencies),
                    inputs=rpc.deserialize_properties(request.object),
                )
            )
        return super().RegisterResource(request)


def run_program(stack: str, *, preview: bool = False, **overrides: str) -> Program:
    """The program with a stack's configuration, some of the project's keys replaced (as text, like the engine's)."""
    return _run(stack, preview, tuple(sorted(overrides.items())))


@lru_cache
def _run(stack: str, preview: bool, overrides: tuple[tuple[str, str], ...]) -> Program:
    program = Program()
    failures: list[BaseException] = []
    config = stack_config(stack) | {f"{project_name()}:{key}": value for key, value in overrides}
    thread = threading.Thread(target=_run_in_thread, args=(program, stack, config, preview, failures))
    # The collector would look through all of pulumi_aws again and again: a third of a run.
    gc.disable()
    thread.start()
    thread.join()
    gc.enable()
    if failures:
        raise failures[0]
    return program


def _run_in_thread(
    program: Program, stack: str, config: Mapping[str, str], preview: bool, failures: list[BaseException]
) -> None:
    # In a thread of its own, because Pulumi's event loop and settings belong to the thread.
    asyncio.set_event_loop(asyncio.new_event_loop())

    @pulumi.runtime.test
    def body() -> Any:
        pulumi.runtime.set_all_config(dict(config))
        mocks.set_mocks(_Aws(), project=project_name(), stack=stack, preview=preview, monitor=_Monitor(program))
        runpy.run_path(str(PROJECT_FOLDER / "__main__.py"), run_name="__main__")
        exported = pulumi.runtime.get_root_resource().outputs  # type: ignore[union-attr]
        return pulumi.Output.all(**exported).apply(program.outputs.update)

    os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "1"  # an Output in an f-string is an error
    try:
        body()
    except BaseException as error:
        failures.append(error)
    finally:
        os.environ.pop("PULUMI_ERROR_OUTPUT_STRING")


def strings(value: Any) -> Iterator[str]:
    """Every text in a resource's inputs."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
    elif value is None:
        yield "None"
