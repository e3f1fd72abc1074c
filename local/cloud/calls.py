"""AWS API requests as the endpoint receives them: which operation, and which permissions AWS would ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from local.cloud.access import ACCOUNT, PARTITION, REGION, Permission

Context = Mapping[str, tuple[str, ...]]

SIGNING_NAMES = {"monitoring": "cloudwatch", "email": "ses"}
"""Services whose name in a signature is not the one that botocore's models go by."""


_models = threading.Lock()
"""Else many threads would read the same large model at once."""


@dataclass(frozen=True)
class Call:
    """A request's service and operation in botocore's words, and its parameters.

    parameters: complete for every service but S3, where an object's content is left out.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    protocol: str


def signer(request: Request) -> tuple[str, str | None, str] | None:
    """(access key id, session token, signing name) of a signed request; None for an unsigned one."""
    authorization = request.headers.get("Authorization", "")
    if not authorization.startswith("AWS4-HMAC-SHA256 Credential="):
        return None
    key_id, _date, _region, service, _ = authorization.split("Credential=", 1)[1].split(",", 1)[0].split("/")
    return key_id, request.headers.get("X-Amz-Security-Token"), service


def parse(request: Request, signing_name: str) -> Call:
    """Read a request. Raises NotFound if the service has no such operation."""
    service = SIGNING_NAMES.get(signing_name, signing_name)
    with _models:
        model, router = get_service_model(service), get_service_router(service)
    operation, uri_parameters = router.match(request)
    protocol = determine_request_protocol(model, request.content_type)
    if service == "s3":
        parameters: Mapping[str, Any] = {**request.args.to_dict(), **_s3_parameters(request, operation.name)}
    else:
        parameters = PROTOCOL_PARSERS[protocol](operation, map_type=dict).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": request.data,
                "url_path": request.path,
                "url_params": uri_parameters,
            }
        )
    return Call(service, operation.name, parameters, protocol)


def _s3_parameters(request: Request, operation: str) -> dict[str, Any]:
    bucket, _, key = unquote(request.raw_path).lstrip("/").partition("/")
    parameters: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if source := request.headers.get("x-amz-copy-source"):
        parameters["CopySource"] = unquote(source).lstrip("/").split("?", 1)[0]
    if operation == "DeleteObjects":
        # The local operator's machine is the only sender, so the document is trusted.
        tree = ElementTree.fromstring(request.data)  # noqa: S314
        parameters["Keys"] = [element.text or "" for element in tree.iter() if element.tag.endswith("}Key")]
    return parameters


# ---------------------------------------------------------------------------- what AWS asks for


def permissions(call: Call, workgroups: Mapping[str, str], statement_owner: str) -> list[Permission]:
    """What the caller of ``call`` must be allowed.

    workgroups: ARN of each Redshift workgroup by name. statement_owner: ``aws:userid`` of who submitted the statement
    that the call is about.

    An operation without a rule of its own needs ``<service>:<operation>`` on ``*``, so that a policy for it which is
    tighter than that fails here rather than pass unseen: add its rule below.
    """
    if call.service == "s3":
        return _s3_permissions(call.operation, call.parameters)
    if call.service == "redshift-data" and (name := call.parameters.get("WorkgroupName")):
        workgroup = workgroups.get(name, arn("redshift-serverless", f"workgroup/{name}"))
        return [
            Permission(f"redshift-data:{call.operation}", workgroup),
            Permission("redshift-serverless:GetCredentials", workgroup),
        ]
    if call.service == "redshift-data" and "Id" in call.parameters:
        context = {"redshift-data:statement-owner-iam-userid": (statement_owner,)}
        return [Permission(f"redshift-data:{call.operation}", "*", context)]
    rule = _RULES.get((call.service, call.operation))
    return rule(call.parameters) if rule else [Permission(f"{call.service}:{call.operation}")]


def arn(service: str, resource: str) -> str:
    """ARN of something in this account and region."""
    return f"arn:{PARTITION}:{service}:{REGION}:{ACCOUNT}:{resource}"


def bucket_arn(bucket: str, key: str = "") -> str:
    """ARN of a bucket, or of an object in it."""
    return f"arn:{PARTITION}:s3:::{bucket}/{key}" if key else f"arn:{PARTITION}:s3:::{bucket}"


_S3_ON_OBJECTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "GetObjectTagging": "s3:GetObjectTagging",
    "PutObjectTagging": "s3:PutObjectTagging",
}
_S3_ON_BUCKETS = {
    "HeadBucket": "s3:ListBucket",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "GetBucketLocation": "s3:GetBucketLocation",
}
_SECURE: Context = {"aws:securetransport": ("true",)}


def _s3_permissions(operation: str, parameters: Mapping[str, Any]) -> list[Permission]:
    bucket, key = parameters["Bucket"], parameters["Key"]
    if operation == "DeleteObjects":
        return [Permission("s3:DeleteObject", bucket_arn(bucket, each), _SECURE) for each in parameters["Keys"]]
    if operation in _S3_ON_OBJECTS:
        needed = [Permission(_S3_ON_OBJECTS[operation], bucket_arn(bucket, key), _SECURE)]
        if "CopySource" in parameters:
            needed.append(Permission("s3:GetObject", bucket_arn(*parameters["CopySource"].split("/", 1)), _SECURE))
        return needed
    context = {**_SECURE, "s3:prefix": (parameters.get("prefix", ""),)}
    return [Permission(_S3_ON_BUCKETS.get(operation, f"s3:{operation}"), bucket_arn(bucket), context)]


def _request_tags(specifications: list[Mapping[str, Any]], kind: str) -> dict[str, str]:
    return {
        tag["Key"]: tag["Value"]
        for specification in specifications
        if specification.get("ResourceType") == kind
        for tag in specification.get("Tags", ())
    }


def _tag_context(tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    context: dict[str, tuple[str, ...]] = {f"aws:requesttag/{key}".lower(): (value,) for key, value in tags.items()}
    if tags:
        context["aws:tagkeys"] = tuple(tags)
    return context


def find_launch_template(specification: Mapping[str, Any]) -> Any:
    """moto's launch template that a fleet's specification names, by identifier or by name."""
    ec2 = ec2_backends[ACCOUNT][REGION]
    if "LaunchTemplateId" in specification:
        return ec2.get_launch_template(specification["LaunchTemplateId"])
    return ec2.get_launch_template_by_name(specification["LaunchTemplateName"])


def instance_role(template_data: Mapping[str, Any]) -> str:
    """Name of the role in a launch template's instance profile."""
    profile = template_data["IamInstanceProfile"]
    name = profile.get("Name") or profile["Arn"].rsplit("/", 1)[-1]
    return str(iam_backends[ACCOUNT][PARTITION].get_instance_profile(name).roles[0].name)


def _create_fleet(parameters: Mapping[str, Any]) -> list[Permission]:
    """CreateFleet of type instant also runs instances, tags them and hands them their role, all as its caller."""
    specifications = parameters.get("TagSpecifications", [])
    tags = {kind: _request_tags(specifications, kind) for kind in ("fleet", "instance", "volume")}
    needed = [Permission("ec2:CreateFleet", arn("ec2", "fleet/*"), _tag_context(tags["fleet"]))]
    for configuration in parameters["LaunchTemplateConfigs"]:
        template = find_launch_template(configuration["LaunchTemplateSpecification"])
        data = template.latest_version().data
        template_arn = arn("ec2", f"launch-template/{template.id}")
        context = {"ec2:launchtemplate": (template_arn,), "ec2:islaunchtemplateresource": ("true",)}
        subnets = {override["SubnetId"] for override in configuration.get("Overrides", ()) if "SubnetId" in override}
        needed.append(Permission("ec2:CreateFleet", template_arn, {**context, **_resource_tags(template.id)}))
        needed.append(Permission("ec2:RunInstances", template_arn, {**context, **_resource_tags(template.id)}))
        needed.append(
            Permission("ec2:RunInstances", arn("ec2", "instance/*"), {**context, **_tag_context(tags["instance"])})
        )
        needed.append(
            Permission("ec2:RunInstances", arn("ec2", "volume/*"), {**context, **_tag_context(tags["volume"])})
        )
        needed.append(Permission("ec2:RunInstances", arn("ec2", "network-interface/*"), context))
        needed.append(Permission("ec2:RunInstances", f"arn:{PARTITION}:ec2:{REGION}::image/ami-local", context))
        needed += [
            Permission("ec2:RunInstances", arn("ec2", f"subnet/{subnet}"), context) for subnet in sorted(subnets)
        ]
        needed += [
            Permission("ec2:RunInstances", arn("ec2", f"security-group/{group}"), context)
            for group in _security_groups(data)
        ]
        if data["ImageId"].startswith("resolve:ssm:"):
            parameter = data["ImageId"].removeprefix("resolve:ssm:")
            needed.append(Permission("ssm:GetParameters", f"arn:{PARTITION}:ssm:{REGION}::parameter{parameter}"))
        if "IamInstanceProfile" in data:
            role = iam_backends[ACCOUNT][PARTITION].get_role(instance_role(data))
            needed.append(Permission("iam:PassRole", role.arn, {"iam:passedtoservice": ("ec2.amazonaws.com",)}))
    needed += [
        Permission("ec2:CreateTags", arn("ec2", f"{kind}/*"), {**_tag_context(of_kind), "ec2:createaction": (action,)})
        for kind, action in (("fleet", "CreateFleet"), ("instance", "RunInstances"), ("volume", "RunInstances"))
        if (of_kind := tags[kind])
    ]
    return needed


def _security_groups(template_data: Mapping[str, Any]) -> list[str]:
    groups = list(template_data.get("SecurityGroupIds", ()))
    for interface in template_data.get("NetworkInterfaces", ()):
        groups += interface.get("Groups", ())
    return groups


def _resource_tags(resource_id: str) -> dict[str, tuple[str, ...]]:
    tags = ec2_backends[ACCOUNT][REGION].tags.get(resource_id, {})
    return {
        f"{namespace}:resourcetag/{key}".lower(): (value,)
        for key, value in tags.items()
        for namespace in ("aws", "ec2")
    }


def _terminate_instances(parameters: Mapping[str, Any]) -> list[Permission]:
    return [
        Permission("ec2:TerminateInstances", arn("ec2", f"instance/{each}"), _resource_tags(each))
        for each in parameters["InstanceIds"]
    ]


def _function_arn(name: str) -> str:
    return name if name.startswith("arn:") else arn("lambda", f"function:{name}")


_RULES: dict[tuple[str, str], Callable[[Mapping[str, Any]], list[Permission]]] = {
    ("ec2", "CreateFleet"): _create_fleet,
    ("ec2", "TerminateInstances"): _terminate_instances,
    ("lambda", "Invoke"): lambda p: [Permission("lambda:InvokeFunction", _function_arn(p["FunctionName"]))],
    ("lambda", "GetFunction"): lambda p: [Permission("lambda:GetFunction", _function_arn(p["FunctionName"]))],
    ("sns", "Publish"): lambda p: [Permission("sns:Publish", p["TopicArn"])],
    ("sqs", "SendMessage"): lambda p: [Permission("sqs:SendMessage", arn("sqs", p["QueueUrl"].rsplit("/", 1)[-1]))],
    ("ssm", "GetParameter"): lambda p: [
        Permission("ssm:GetParameter", arn("ssm", f"parameter/{p['Name'].lstrip('/')}"))
    ],
    ("sts", "GetCallerIdentity"): lambda _: [],
}
