"""The Pulumi program, executed on this machine: what it asks for is made in moto where moto has it, or remembered."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import runpy
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from moto.iam.aws_managed_policies import aws_managed_policies_data
from pulumi.runtime import mocks
from pulumi.runtime.settings import get_root_resource

from local.cloud.access import ACCOUNT, PARTITION, REGION
from local.cloud.calls import arn
from local.cloud.events import Rule, Schedule, Target
from local.cloud.functions import Function

if TYPE_CHECKING:
    from pathlib import Path

LOG = logging.getLogger("bison.local.program")

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]
Made = tuple[str, Outputs]
"""A resource's identifier and what it has beside its inputs."""


class UnknownResourceError(Exception):
    """The program asks for something that the local run neither makes nor knows to leave out."""


@dataclass
class Program:
    """What the program asked for, as far as the local run acts on it.

    functions and schedules by name; rules by name, targets by their rule's name; workgroups: ARN by name;
    warehouse_role: ARN of Redshift's default role;
    bucket_policies by bucket; templates: launch templates' names; outputs: what the program exports.
    """

    functions: dict[str, Function] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    targets: dict[str, list[Target]] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    workgroups: dict[str, str] = field(default_factory=dict)
    warehouse_role: str = ""
    bucket_policies: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    templates: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)


def execute(
    main: Path, *, project: str, stack: str, config: Mapping[str, str], client: Callable[[str], Any]
) -> Program:
    """Run the Pulumi program ``main`` under mocks that make its resources with ``client`` (boto3's, by service).

    Raises UnknownResourceError for a resource or invoke that the local run does not know, and what the program raises.
    """
    program = Program()
    failures: list[BaseException] = []

    def run() -> None:
        # Of its own thread, so that Pulumi's event loop, settings and configuration end with it.
        loop = asyncio.new_event_loop()
        # The first failure is raised to the caller; asyncio would print those that follow from it.
        loop.set_exception_handler(lambda _loop, _context: None)
        asyncio.set_event_loop(loop)
        makers = _Makers(program, client)

        def body() -> Any:
            pulumi.runtime.set_all_config(dict(config))
            mocks.set_mocks(makers, project=project, stack=stack, preview=False)
            runpy.run_path(str(main), run_name="__main__")
            exports = getattr(get_root_resource(), "outputs", {})
            return pulumi.Output.all(**exports).apply(program.outputs.update)

        try:
            pulumi.runtime.test(body)()  # type: ignore[no-untyped-call]
        except BaseException as error:  # carried to the caller's thread
            failures.append(makers.failure or error)
        finally:
            # A program that fails leaves tasks that wait for what never comes.
            for task in (tasks := asyncio.all_tasks(loop)):
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            # Nor may a resource that is still being made appear in the next cloud.
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run, name="pulumi-program")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return program


class _Makers(mocks.Mocks):
    def __init__(self, program: Program, client: Callable[[str], Any]) -> None:
        self.program = program
        self.client = client
        self.failure: BaseException | None = None
        """The first one: what Pulumi raises in its place names neither the resource nor the reason."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if not args.custom and not args.typ.startswith("pulumi:providers:"):
            return None, dict(args.inputs)
        maker = _MAKERS.get(args.typ) or (_remember if args.typ.startswith(_REMEMBERED) else None)
        if self.failure is not None:
            raise self.failure
        try:
            if maker is None:
                raise UnknownResourceError(
                    f"The program asks for {args.name!r} of type {args.typ}, which the local run does not know: "
                    "make it in local/cloud/program.py, or list it among what is only remembered."
                )
            identifier, outputs = maker(self, args.name, _plain(args.inputs))
        except BaseException as error:
            self.failure = self.failure or error
            raise
        return identifier, {**args.inputs, **outputs}

    def call(self, args: mocks.MockCallArgs) -> Any:
        try:
            if args.token not in _INVOKES:
                raise UnknownResourceError(
                    f"The program looks up {args.token}, which the local run cannot answer: "
                    "add it in local/cloud/program.py."
                )
            return _INVOKES[args.token](self, _plain(args.args))
        except BaseException as error:
            self.failure = self.failure or error
            raise


def _plain(value: Any) -> Any:
    """Pulumi's inputs as Python's own: whole floats become integers again."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unique(name: str) -> str:
    """Where Pulumi would add random letters to a name."""
    return f"{name}-local"


# ---------------------------------------------------------------------------- what is made


def _bucket(makers: _Makers, name: str, inputs: Inputs) -> Made:
    bucket = inputs.get("bucket") or _unique(name)
    makers.client("s3").create_bucket(Bucket=bucket)
    domain = f"{bucket}.s3.amazonaws.com"
    return bucket, {
        "bucket": bucket,
        "arn": f"arn:{PARTITION}:s3:::{bucket}",
        "bucketDomainName": domain,
        "bucketRegionalDomainName": domain,
        "region": REGION,
    }


def _bucket_notification(makers: _Makers, name: str, inputs: Inputs) -> Made:
    configuration: dict[str, Any] = {"EventBridgeConfiguration": {}} if inputs.get("eventbridge") else {}
    makers.client("s3").put_bucket_notification_configuration(
        Bucket=inputs["bucket"], NotificationConfiguration=configuration
    )
    return name, {}


def _bucket_policy(makers: _Makers, name: str, inputs: Inputs) -> Made:
    makers.program.bucket_policies[inputs["bucket"]] = _document(inputs["policy"])
    return name, {}


def _document(policy: Any) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(policy) if isinstance(policy, str) else policy
    return document


def _role(makers: _Makers, name: str, inputs: Inputs) -> Made:
    role = inputs.get("name") or _unique(name)
    made = makers.client("iam").create_role(
        RoleName=role, AssumeRolePolicyDocument=json.dumps(_document(inputs["assumeRolePolicy"]))
    )
    return role, {"name": role, "arn": made["Role"]["Arn"], "uniqueId": made["Role"]["RoleId"]}


def _role_policy(makers: _Makers, name: str, inputs: Inputs) -> Made:
    policy = inputs.get("name") or _unique(name)
    makers.client("iam").put_role_policy(
        RoleName=inputs["role"], PolicyName=policy, PolicyDocument=json.dumps(_document(inputs["policy"]))
    )
    return f"{inputs['role']}:{policy}", {"name": policy}


def _policy(makers: _Makers, name: str, inputs: Inputs) -> Made:
    policy = inputs.get("name") or _unique(name)
    made = makers.client("iam").create_policy(PolicyName=policy, PolicyDocument=json.dumps(_document(inputs["policy"])))
    return made["Policy"]["Arn"], {"name": policy, "arn": made["Policy"]["Arn"]}


def _role_policy_attachment(makers: _Makers, name: str, inputs: Inputs) -> Made:
    policy_arn = inputs["policyArn"]
    iam = makers.client("iam")
    if policy_arn.startswith(f"arn:{PARTITION}:iam::aws:policy/"):
        # AWS's own policies: moto has their texts, and loads all or none of them.
        policy = policy_arn.rsplit("/", 1)[-1]
        document = json.loads(aws_managed_policies_data)[policy]["Document"]
        iam.put_role_policy(RoleName=inputs["role"], PolicyName=policy, PolicyDocument=json.dumps(document))
    else:
        iam.attach_role_policy(RoleName=inputs["role"], PolicyArn=policy_arn)
    return f"{inputs['role']}-{name}", {}


def _instance_profile(makers: _Makers, name: str, inputs: Inputs) -> Made:
    profile = inputs.get("name") or _unique(name)
    made = makers.client("iam").create_instance_profile(InstanceProfileName=profile)
    makers.client("iam").add_role_to_instance_profile(InstanceProfileName=profile, RoleName=inputs["role"])
    return profile, {"name": profile, "arn": made["InstanceProfile"]["Arn"]}


def _function(makers: _Makers, name: str, inputs: Inputs) -> Made:
    function = inputs.get("name") or _unique(name)
    variables = {key: str(value) for key, value in inputs.get("environment", {}).get("variables", {}).items()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("README", "The local run imports the handler from the working tree.")
    made = makers.client("lambda").create_function(
        FunctionName=function,
        Runtime=inputs["runtime"],
        Role=inputs["role"],
        Handler=inputs["handler"],
        Timeout=int(inputs.get("timeout", 3)),
        MemorySize=int(inputs.get("memorySize", 128)),
        Environment={"Variables": variables},
        Code={"ZipFile": content.getvalue()},
    )
    makers.program.functions[function] = Function(
        name=function,
        arn=made["FunctionArn"],
        handler=inputs["handler"],
        environment=variables,
        role=inputs["role"],
        timeout=int(inputs.get("timeout", 3)),
    )
    return function, {"name": function, "arn": made["FunctionArn"], "qualifiedArn": f"{made['FunctionArn']}:$LATEST"}


def _function_name(reference: str) -> str:
    return reference.rsplit(":function:", 1)[-1]


def _function_permission(makers: _Makers, name: str, inputs: Inputs) -> Made:
    function = makers.program.functions[_function_name(inputs["function"])]
    if inputs["action"] == "lambda:InvokeFunction":
        function.principals.append((inputs["principal"], inputs.get("sourceArn")))
    return inputs.get("statementId", name), {}


def _rule(makers: _Makers, name: str, inputs: Inputs) -> Made:
    rule = inputs.get("name") or _unique(name)
    if "eventPattern" not in inputs:
        raise UnknownResourceError(f"Rule {rule} has no eventPattern: the local run fires schedules of Scheduler only.")
    state = inputs.get("state", "ENABLED")
    made = makers.client("events").put_rule(Name=rule, EventPattern=inputs["eventPattern"], State=state)
    makers.program.rules[rule] = Rule(rule, made["RuleArn"], inputs["eventPattern"], state == "ENABLED")
    return rule, {"name": rule, "arn": made["RuleArn"]}


_LEFT_TO_AWS = {"deadLetterConfig", "retryPolicy", "targetId", "rule", "arn", "input", "region"}
"""What a target may say that the local run can act on, or that has no part in it."""


def _rule_target(makers: _Makers, name: str, inputs: Inputs) -> Made:
    if unknown := set(inputs) - _LEFT_TO_AWS - {"__defaults"}:
        raise UnknownResourceError(
            f"Target {name} has {', '.join(sorted(unknown))}, which the local run cannot follow."
        )
    target = inputs.get("targetId") or _unique(name)
    request = {"Id": target, "Arn": inputs["arn"]}
    if "input" in inputs:
        request["Input"] = inputs["input"]
    makers.client("events").put_targets(Rule=inputs["rule"], Targets=[request])
    makers.program.targets.setdefault(inputs["rule"], []).append(Target(inputs["arn"], inputs.get("input")))
    return f"{inputs['rule']}-{target}", {"targetId": target}


def _schedule_group(makers: _Makers, name: str, inputs: Inputs) -> Made:
    group = inputs.get("name") or _unique(name)
    made = makers.client("scheduler").create_schedule_group(Name=group)
    return group, {"name": group, "arn": made["ScheduleGroupArn"]}


def _schedule(makers: _Makers, name: str, inputs: Inputs) -> Made:
    schedule, target = inputs.get("name") or _unique(name), inputs["target"]
    group = {"GroupName": inputs["groupName"]} if inputs.get("groupName") else {}
    made = makers.client("scheduler").create_schedule(
        Name=schedule,
        **group,
        ScheduleExpression=inputs["scheduleExpression"],
        FlexibleTimeWindow={"Mode": inputs["flexibleTimeWindow"]["mode"]},
        State=inputs.get("state", "ENABLED"),
        Target={"Arn": target["arn"], "RoleArn": target["roleArn"], "Input": target.get("input", "{}")},
    )
    group_name = inputs.get("groupName", "default")
    makers.program.schedules[schedule] = Schedule(
        name=schedule,
        group_arn=arn("scheduler", f"schedule-group/{group_name}"),
        expression=inputs["scheduleExpression"],
        target=Target(target["arn"], target.get("input")),
        role=target["roleArn"],
        enabled=inputs.get("state", "ENABLED") == "ENABLED",
    )
    return f"{group_name}/{schedule}", {"name": schedule, "arn": made["ScheduleArn"]}


def _launch_template(makers: _Makers, name: str, inputs: Inputs) -> Made:
    template = inputs.get("name") or _unique(name)
    data: dict[str, Any] = {"ImageId": inputs["imageId"], "UserData": inputs["userData"]}
    if "instanceType" in inputs:
        data["InstanceType"] = inputs["instanceType"]
    if profile := inputs.get("iamInstanceProfile"):
        data["IamInstanceProfile"] = {key.capitalize(): value for key, value in profile.items()}
    if groups := inputs.get("vpcSecurityGroupIds"):
        data["SecurityGroupIds"] = groups
    if interfaces := inputs.get("networkInterfaces"):
        data["NetworkInterfaces"] = [
            {"DeviceIndex": index, "Groups": interface.get("securityGroups", [])}
            for index, interface in enumerate(interfaces)
        ]
    made = makers.client("ec2").create_launch_template(
        LaunchTemplateName=template, LaunchTemplateData=data, TagSpecifications=_tags("launch-template", inputs)
    )["LaunchTemplate"]
    makers.program.templates.append(template)
    return made["LaunchTemplateId"], {
        "name": template,
        "arn": arn("ec2", f"launch-template/{made['LaunchTemplateId']}"),
        "latestVersion": 1,
        "defaultVersion": 1,
    }


def _tags(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    tags = [{"Key": key, "Value": value} for key, value in (inputs.get("tags") or {}).items()]
    return [{"ResourceType": kind, "Tags": tags}] if tags else []


def _vpc(makers: _Makers, _name: str, inputs: Inputs) -> Made:
    made = makers.client("ec2").create_vpc(CidrBlock=inputs["cidrBlock"])["Vpc"]
    return made["VpcId"], {"arn": arn("ec2", f"vpc/{made['VpcId']}")}


def _subnet(makers: _Makers, _name: str, inputs: Inputs) -> Made:
    zone = {"AvailabilityZone": inputs["availabilityZone"]} if "availabilityZone" in inputs else {}
    made = makers.client("ec2").create_subnet(VpcId=inputs["vpcId"], CidrBlock=inputs["cidrBlock"], **zone)["Subnet"]
    return made["SubnetId"], {"arn": made["SubnetArn"]}


def _security_group(makers: _Makers, name: str, inputs: Inputs) -> Made:
    made = makers.client("ec2").create_security_group(
        GroupName=inputs.get("name") or _unique(name),
        Description=inputs.get("description") or "Managed by Pulumi",
        **({"VpcId": inputs["vpcId"]} if "vpcId" in inputs else {}),
    )
    return made["GroupId"], {"arn": arn("ec2", f"security-group/{made['GroupId']}"), "name": inputs.get("name", name)}


def _topic(makers: _Makers, name: str, inputs: Inputs) -> Made:
    topic = inputs.get("name") or _unique(name)
    made = makers.client("sns").create_topic(Name=topic)["TopicArn"]
    return made, {"name": topic, "arn": made}


def _queue(makers: _Makers, name: str, inputs: Inputs) -> Made:
    queue = inputs.get("name") or _unique(name)
    url = makers.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    return url, {"name": queue, "arn": arn("sqs", queue), "url": url}


def _parameter(makers: _Makers, name: str, inputs: Inputs) -> Made:
    parameter = inputs.get("name") or _unique(name)
    makers.client("ssm").put_parameter(Name=parameter, Value=inputs["value"], Type=inputs["type"], Overwrite=True)
    return parameter, {"name": parameter, "arn": arn("ssm", f"parameter/{parameter.lstrip('/')}")}


def _log_group(makers: _Makers, name: str, inputs: Inputs) -> Made:
    group = inputs.get("name") or _unique(name)
    makers.client("logs").create_log_group(logGroupName=group)
    return group, {"name": group, "arn": arn("logs", f"log-group:{group}")}


def _repository(makers: _Makers, name: str, inputs: Inputs) -> Made:
    repository = inputs.get("name") or _unique(name)
    made = makers.client("ecr").create_repository(repositoryName=repository)["repository"]
    return repository, {
        "name": repository,
        "arn": made["repositoryArn"],
        "repositoryUrl": made["repositoryUri"],
        "registryId": made["registryId"],
    }


# ---------------------------------------------------------------------------- what is remembered


def _workgroup(makers: _Makers, _name: str, inputs: Inputs) -> Made:
    workgroup = inputs["workgroupName"]
    # AWS gives it an identifier of its own, which no policy can guess.
    workgroup_arn = arn("redshift-serverless", "workgroup/00000000-0000-4000-8000-000000000001")
    makers.program.workgroups[workgroup] = workgroup_arn
    return workgroup, {"arn": workgroup_arn, "workgroupId": workgroup_arn.rsplit("/", 1)[-1]}


def _namespace(makers: _Makers, _name: str, inputs: Inputs) -> Made:
    makers.program.warehouse_role = inputs["defaultIamRoleArn"]
    namespace_arn = arn("redshift-serverless", "namespace/00000000-0000-4000-8000-000000000002")
    return inputs["namespaceName"], {
        "arn": namespace_arn,
        "namespaceId": namespace_arn.rsplit("/", 1)[-1],
        "adminPasswordSecretArn": arn("secretsmanager", "secret:redshift-local"),
    }


def _image(_makers: _Makers, name: str, _inputs: Inputs) -> Made:
    digest = "sha256:" + "0" * 64
    reference = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}@{digest}"
    return name, {"ref": reference, "digest": digest}


def _remember(_makers: _Makers, name: str, inputs: Inputs) -> Made:
    label = inputs.get("name") or _unique(name)
    return _unique(name), {"name": label, "arn": arn("local", name)}


_MAKERS: dict[str, Callable[[_Makers, str, Inputs], Made]] = {
    "aws:s3/bucket:Bucket": _bucket,
    "aws:s3/bucketNotification:BucketNotification": _bucket_notification,
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_policy,
    "aws:iam/role:Role": _role,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:iam/policy:Policy": _policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _role_policy_attachment,
    "aws:iam/instanceProfile:InstanceProfile": _instance_profile,
    "aws:lambda/function:Function": _function,
    "aws:lambda/permission:Permission": _function_permission,
    "aws:cloudwatch/eventRule:EventRule": _rule,
    "aws:cloudwatch/eventTarget:EventTarget": _rule_target,
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:scheduler/scheduleGroup:ScheduleGroup": _schedule_group,
    "aws:scheduler/schedule:Schedule": _schedule,
    "aws:ec2/launchTemplate:LaunchTemplate": _launch_template,
    "aws:ec2/vpc:Vpc": _vpc,
    "aws:ec2/subnet:Subnet": _subnet,
    "aws:ec2/securityGroup:SecurityGroup": _security_group,
    "aws:sns/topic:Topic": _topic,
    "aws:sqs/queue:Queue": _queue,
    "aws:ssm/parameter:Parameter": _parameter,
    "aws:ecr/repository:Repository": _repository,
    "aws:redshiftserverless/workgroup:Workgroup": _workgroup,
    "aws:redshiftserverless/namespace:Namespace": _namespace,
    "docker-build:index:Image": _image,
}

_REMEMBERED = (
    "pulumi:providers:",
    # What DuckDB needs none of: the catalog of external tables, rights inside the database, its purse.
    "aws:glue/catalogDatabase:",
    "aws:redshiftdata/statement:",
    "aws:redshiftserverless/usageLimit:",
    # For events that go astray: the local run stops at the first one instead.
    "aws:sqs/queuePolicy:",
    "aws:lambda/functionEventInvokeConfig:",
    # The bucket's keeping: nothing in a month depends on it.
    "aws:s3/bucketLifecycleConfiguration:",
    "aws:s3/bucketOwnershipControls:",
    "aws:s3/bucketPublicAccessBlock:",
    "aws:s3/bucketServerSideEncryptionConfiguration:",
    "aws:s3/bucketVersioning:",
)
"""Types (or what they begin with) that are only remembered."""


def _get_vpc(makers: _Makers, arguments: Inputs) -> Outputs:
    if not arguments.get("default"):
        raise UnknownResourceError("The program looks up a VPC that is not the default one: it is not on this machine.")
    filters = [{"Name": "is-default", "Values": ["true"]}]
    (vpc,) = makers.client("ec2").describe_vpcs(Filters=filters)["Vpcs"]
    return {"id": vpc["VpcId"], "arn": arn("ec2", f"vpc/{vpc['VpcId']}"), "cidrBlock": vpc["CidrBlock"]}


def _get_subnets(makers: _Makers, arguments: Inputs) -> Outputs:
    filters = [{"Name": each["name"], "Values": each["values"]} for each in arguments.get("filters", ())]
    found = makers.client("ec2").describe_subnets(Filters=filters)["Subnets"]
    return {"ids": sorted(subnet["SubnetId"] for subnet in found), "id": REGION}


_INVOKES: dict[str, Callable[[_Makers, Inputs], Outputs]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": lambda *_: {
        "accountId": ACCOUNT,
        "arn": f"arn:{PARTITION}:iam::{ACCOUNT}:root",
        "id": ACCOUNT,
        "userId": ACCOUNT,
    },
    "aws:index/getRegion:getRegion": lambda *_: {"region": REGION, "name": REGION, "id": REGION},
    "aws:index/getPartition:getPartition": lambda *_: {"partition": PARTITION, "dnsSuffix": "amazonaws.com"},
    "aws:ec2/getVpc:getVpc": _get_vpc,
    "aws:ec2/getSubnets:getSubnets": _get_subnets,
}
