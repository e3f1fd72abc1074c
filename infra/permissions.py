"""What each role may do: IAM policies as plain documents, made by pure functions.

A ``*`` stands only where AWS has nothing narrower; a comment says why, and a test lists those places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workflow import names
from workflow.steps import STEPS, Kind, get_step

if TYPE_CHECKING:
    from collections.abc import Mapping

WATCHER = "watcher"
SWEEP = "sweep"

UBUNTU_PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id"
"""Public SSM parameter with Canonical's newest image; a launch template takes it as ``resolve:ssm:<parameter>``."""

Statement = dict[str, Any]
Document = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a stack lives. prefix: ``names.stack_prefix``."""

    stack: str
    prefix: str
    region: str
    account: str

    def ec2_arn(self, resource: str) -> str:
        """ARN of ``instance/*``, ``subnet/subnet-0123`` and the like."""
        return f"arn:aws:ec2:{self.region}:{self.account}:{resource}"

    def function_arn(self, name: str) -> str:
        """ARN of a Lambda function, which need not exist yet."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{name}"


@dataclass(frozen=True)
class FunctionResources:
    """What the functions' policies name, as ARNs.

    launch_templates: by step. key_pair: name, or None. dead_letters: the queue for events that failed for good.
    """

    bucket: str
    gbif_bucket: str
    workgroup: str
    instance_role: str
    security_group: str
    subnets: tuple[str, ...]
    launch_templates: Mapping[str, str]
    key_pair: str | None
    dead_letters: str


def trust_policy(*services: str, conditions: Mapping[str, Any] | None = None) -> Document:
    """A role that these AWS services may take on."""
    statement = allow("sts:AssumeRole", Principal={"Service": list(services) if len(services) > 1 else services[0]})
    return document(statement | ({"Condition": dict(conditions)} if conditions else {}))


def function_policy(function: str, log_group: str, place: Place, to: FunctionResources) -> Document:
    """What a function may do. function: a step's name, WATCHER or SWEEP; log_group: ARN of its own log group."""
    own = [
        allow("logs:CreateLogStream", "logs:PutLogEvents", Resource=f"{log_group}:*"),
        allow("sqs:SendMessage", Resource=to.dead_letters),
        # Without the right to list, a missing object answers 403 instead of 404.
        allow("s3:ListBucket", Resource=to.bucket),
        allow("s3:GetObject", Resource=_objects(to.bucket, names.RUN, names.LOG)),
    ]
    if function == WATCHER:
        tasks = [step.name for step in STEPS if step.kind is Kind.TASK]
        return document(*own, _describe_instances(), _invoke(tasks, place))
    if function == SWEEP:
        every = [step.name for step in STEPS]
        return document(*own, _describe_instances(), _terminate_instances(place), _invoke(every, place))
    write_state = [
        allow("s3:PutObject", Resource=_objects(to.bucket, names.RUN, names.LOG)),
        allow("s3:DeleteObject", Resource=_objects(to.bucket, names.RUN)),
    ]
    kind = get_step(function).kind
    if kind is Kind.CHECK:
        return document(*own, *write_state, *_check_statements(to))
    if kind is Kind.TASK:
        return document(*own, *write_state, *_launcher_statements(function, place, to))
    return document(*own, *write_state, *_sql_statements(function, to))


def _check_statements(to: FunctionResources) -> list[Statement]:
    return [
        allow("s3:ListBucket", Resource=to.gbif_bucket, Condition={"StringLike": {"s3:prefix": "occurrence/*"}}),
        allow(
            "s3:GetObject",
            Resource=_objects(to.bucket, f"{names.SUMMARY}*/{names.SNAPSHOT_LISTING_JSON}", names.TRIGGER),
        ),
        allow("s3:PutObject", Resource=_objects(to.bucket, names.SUMMARY)),
        allow("s3:DeleteObject", Resource=_objects(to.bucket, names.TRIGGER)),
    ]


def _sql_statements(step: str, to: FunctionResources) -> list[Statement]:
    statements = [
        allow("redshift-data:ExecuteStatement", "redshift-serverless:GetCredentials", Resource=to.workgroup),
        # Statements have no ARN; a role sees only those that it started itself.
        allow(
            "redshift-data:DescribeStatement",
            "redshift-data:GetStatementResult",
            "redshift-data:CancelStatement",
            Resource="*",
        ),
    ]
    reads = {"load_ancillary": names.INPUT, "aggregate_region": names.SUMMARY}
    read = reads.get(step, f"{names.SUMMARY}*/{names.SNAPSHOT_JSON}")
    statements.append(allow("s3:GetObject", Resource=_objects(to.bucket, read)))
    if step == "load_ancillary":
        statements.append(
            allow("s3:GetObject", Resource=_objects(to.bucket, f"{names.SUMMARY}*/{names.SNAPSHOT_JSON}"))
        )
    if step == "aggregate_region":
        tables = _objects(to.bucket, f"{names.OUTPUT}*.csv", f"{names.OUTPUT}*.parquet")
        statements.append(allow("s3:PutObject", "s3:DeleteObject", Resource=tables))
    if step == "delete_obsolete":
        replaced = _objects(to.bucket, names.SUMMARY, f"{names.INPUT}*_annotated_*")
        statements.append(allow("s3:DeleteObject", Resource=replaced))
    return statements


def _launcher_statements(step: str, place: Place, to: FunctionResources) -> list[Statement]:
    template = to.launch_templates[step]
    launched = [
        # What is made has no identifier before.
        *[place.ec2_arn(resource) for resource in ("instance/*", "volume/*", "network-interface/*")],
        f"arn:aws:ec2:{place.region}::image/*",  # Canonical's newest Ubuntu is another one every few weeks
        template,
        to.security_group,
        *to.subnets,
        *([place.ec2_arn(f"key-pair/{to.key_pair}")] if to.key_pair else []),
    ]
    return [
        allow("ec2:CreateFleet", Resource=[place.ec2_arn("fleet/*"), *launched]),
        allow("ec2:RunInstances", Resource=launched, Condition={"ArnEquals": {"ec2:LaunchTemplate": template}}),
        allow(
            "ec2:CreateTags",
            Resource=[place.ec2_arn(resource) for resource in ("instance/*", "volume/*", "fleet/*")],
            Condition={"StringEquals": {"ec2:CreateAction": ["CreateFleet", "RunInstances"]}},
        ),
        allow(
            "iam:PassRole",
            Resource=to.instance_role,
            Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
        allow("ssm:GetParameters", Resource=f"arn:aws:ssm:{place.region}::parameter{UBUNTU_PARAMETER}"),
        _describe_instances(),
        _terminate_instances(place),
    ]


def task_policy(bucket: str, gbif_bucket: str, log_group: str, image: str) -> Document:
    """What a task's machine may do. bucket, gbif_bucket, log_group: ARNs. image: the task image's URI."""
    data = [names.INPUT, names.SUMMARY, names.OUTPUT, names.CACHE, names.LOG, names.RUN]
    statements = [
        allow("s3:ListBucket", Resource=bucket),
        allow("s3:GetObject", "s3:PutObject", Resource=_objects(bucket, *data)),
        allow("s3:DeleteObject", Resource=_objects(bucket, names.RUN)),  # the opposite marker of an older attempt
        allow("s3:ListBucket", Resource=gbif_bucket, Condition={"StringLike": {"s3:prefix": "occurrence/*"}}),
        allow("s3:GetObject", Resource=_objects(gbif_bucket, "occurrence/")),
        allow("logs:CreateLogStream", "logs:PutLogEvents", Resource=f"{log_group}:*"),
        # Session Manager, instead of an open port: none of its actions knows a resource.
        allow(
            "ssm:UpdateInstanceInformation",
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
            Resource="*",
        ),
    ]
    if repository := repository_arn(image):
        statements += [
            allow("ecr:GetAuthorizationToken", Resource="*"),  # it is for the whole registry
            allow(
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
                Resource=repository,
            ),
        ]
    return document(*statements)


def repository_arn(image: str) -> str | None:
    """ARN of the ECR repository that ``image`` lies in; None if it lies in another registry."""
    match = re.match(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^:@]+)", image)
    return f"arn:aws:ecr:{match[2]}:{match[1]}:repository/{match[3]}" if match else None


def warehouse_policy(bucket: str, gbif_bucket: str, glue_database: str, place: Place) -> Document:
    """What Redshift's default role may do: COPY, UNLOAD and Spectrum. bucket, gbif_bucket: ARNs."""
    glue = f"arn:aws:glue:{place.region}:{place.account}"
    return document(
        allow("s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads", Resource=bucket),
        allow("s3:GetObject", Resource=_objects(bucket, names.INPUT, names.SUMMARY, names.OUTPUT)),
        # UNLOAD with CLEANPATH deletes what an earlier attempt left.
        allow(
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
            Resource=_objects(bucket, names.SUMMARY, names.OUTPUT),
        ),
        allow("s3:ListBucket", "s3:GetBucketLocation", Resource=gbif_bucket),
        allow("s3:GetObject", Resource=_objects(gbif_bucket, "occurrence/")),
        # CREATE EXTERNAL SCHEMA … CREATE EXTERNAL DATABASE IF NOT EXISTS asks for CreateDatabase even if it exists.
        allow(
            "glue:CreateDatabase",
            "glue:GetDatabase",
            "glue:GetDatabases",
            "glue:CreateTable",
            "glue:GetTable",
            "glue:GetTables",
            "glue:UpdateTable",
            "glue:DeleteTable",
            "glue:GetPartition",
            "glue:GetPartitions",
            Resource=[f"{glue}:catalog", f"{glue}:database/{glue_database}", f"{glue}:table/{glue_database}/*"],
        ),
    )


def scheduler_policy(functions: list[str], dead_letters: str) -> Document:
    """What EventBridge Scheduler may do. functions, dead_letters: ARNs."""
    return document(allow("lambda:InvokeFunction", Resource=functions), allow("sqs:SendMessage", Resource=dead_letters))


def dead_letters_policy(queue: str, rules: list[str]) -> Document:
    """Lets this stack's EventBridge rules, and nobody else's, leave what they could not deliver. All are ARNs."""
    return document(
        allow(
            "sqs:SendMessage",
            Principal={"Service": "events.amazonaws.com"},
            Resource=queue,
            Condition={"ArnEquals": {"aws:SourceArn": rules}},
        )
    )


def document(*statements: Statement) -> Document:
    """A policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(*actions: str, **elements: Any) -> Statement:
    """A statement that allows ``actions``. elements: Resource, Principal, Condition."""
    return {"Effect": "Allow", "Action": list(actions) if len(actions) > 1 else actions[0], **elements}


def _objects(bucket: str, *keys: str) -> list[str]:
    """Objects under prefixes that end in ``/``, or with keys of a form."""
    return [f"{bucket}/{key}*" if key.endswith("/") else f"{bucket}/{key}" for key in keys]


def _describe_instances() -> Statement:
    return allow("ec2:DescribeInstances", Resource="*")  # AWS knows no narrower form of it


def _terminate_instances(place: Place) -> Statement:
    return allow(
        "ec2:TerminateInstances",
        Resource=place.ec2_arn("instance/*"),
        Condition={"StringEquals": {f"aws:ResourceTag/{names.TAG_STACK}": place.stack}},
    )


def _invoke(steps: list[str], place: Place) -> Statement:
    functions = [place.function_arn(names.function_name(place.prefix, step)) for step in steps]
    return allow("lambda:InvokeFunction", Resource=functions)
