"""The warehouse: Redshift Serverless, where a month's long SQL runs, and what its users may do in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.permissions import Place, trust_policy, warehouse_policy
from workflow.steps import STEPS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "dev"
MOUNTING_STEP = "create_bison"
"""The step that makes the external schema. Only a schema's owner may make and drop external tables in it."""


@dataclass(frozen=True)
class WarehouseArgs:
    """prefix: ``names.stack_prefix``. bucket, gbif_bucket: ARNs. Capacities in RPU, the limit in RPU-hours a month.

    subnet_ids: () for the default VPC's. protect: refuse to delete the warehouse with the stack.
    """

    prefix: str
    place: pulumi.Output[Place]
    bucket: pulumi.Input[str]
    gbif_bucket: str
    base_capacity: int
    max_capacity: int
    monthly_usage_limit: int
    subnet_ids: tuple[str, ...]
    protect: bool


class Warehouse(pulumi.ComponentResource):
    """Namespace and workgroup (named like the stack), their role and cost limit, the Glue database for GBIF's files."""

    def __init__(self, name: str, args: WarehouseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:warehouse:Warehouse", name, None, opts)
        self._name = name
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(parent=self, protect=args.protect, retain_on_delete=args.protect)
        aws_name = args.prefix.replace("_", "-")  # Redshift takes no underscore
        self.database = DATABASE
        self.external_schema = f"{args.prefix}_gbif"

        catalog = aws.glue.CatalogDatabase(f"{name}-catalog", name=f"{args.prefix}_gbif", opts=child)
        self.glue_database = catalog.name
        role = aws.iam.Role(
            f"{name}-role",
            description="Redshift's COPY, UNLOAD and Spectrum.",
            assume_role_policy=pulumi.Output.json_dumps(
                trust_policy("redshift.amazonaws.com", "redshift-serverless.amazonaws.com")
            ),
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-policy",
            role=role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(
                    bucket=args.bucket, gbif_bucket=args.gbif_bucket, glue_database=catalog.name, place=args.place
                ).apply(lambda to: warehouse_policy(**to))
            ),
            opts=child,
        )
        self.namespace = aws.redshiftserverless.Namespace(
            f"{name}-namespace",
            namespace_name=aws_name,
            db_name=DATABASE,
            # AWS makes and keeps the password, in Secrets Manager: nobody types it, no state holds it.
            manage_admin_password=True,
            default_iam_role_arn=role.arn,
            iam_roles=[role.arn],
            opts=kept,
        )
        self.workgroup = aws.redshiftserverless.Workgroup(
            f"{name}-workgroup",
            workgroup_name=aws_name,
            namespace_name=self.namespace.namespace_name,
            base_capacity=args.base_capacity,
            max_capacity=args.max_capacity,
            publicly_accessible=False,  # the Data API needs no way in
            subnet_ids=list(args.subnet_ids) or None,
            opts=kept,
        )
        # The last guard of the purse: past the limit, Redshift takes no more queries until the month is over.
        aws.redshiftserverless.UsageLimit(
            f"{name}-usage-limit",
            resource_arn=self.workgroup.arn,
            usage_type="serverless-compute",
            period="monthly",
            amount=args.monthly_usage_limit,
            breach_action="deactivate",
            opts=child,
        )
        # Nothing may run before the role's rights are there.
        self.ready: list[pulumi.Resource] = [self.workgroup, policy]
        self.register_outputs({"workgroup": self.workgroup.workgroup_name, "namespace": self.namespace.namespace_name})

    def grant(self, roles: Mapping[str, pulumi.Input[str]]) -> None:
        """Let the SQL steps' functions work in the database. roles: name of each step's role, by step.

        Each statement runs once, with the admin's secret, when the stack is made (again if a role is replaced).
        """
        for step in (step.name for step in STEPS if step.kind is Kind.SQL):
            before: list[pulumi.Resource] = self.ready
            for label in grant_statements("", step):
                statement = aws.redshiftdata.Statement(
                    f"{self._name}-{label}-{step}",
                    workgroup_name=self.workgroup.workgroup_name,
                    database=DATABASE,
                    secret_arn=self.namespace.admin_password_secret_arn,
                    sql=pulumi.Output.from_input(roles[step]).apply(partial(_grant, step=step, label=label)),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=before),
                )
                before = [statement]


def grant_statements(role: str, step: str) -> dict[str, str]:
    """SQL that gives a SQL step's database user its rights, by a label, in order.

    An IAM role logs in as the user ``IAMR:<role>``. Redshift would make it at the first login; rights must be there
    before. [U] that it takes a user made here for its own: nobody could try it. A step's tables belong to its user;
    the others read them, and delete_obsolete drops them.
    """
    user = f'"IAMR:{role}"'
    statements = {
        "user": f"CREATE USER {user} PASSWORD DISABLE",
        "schema": f"GRANT USAGE, CREATE ON SCHEMA public TO {user}",
        "tables": f"GRANT SELECT, DROP FOR TABLES IN SCHEMA public DATABASE {DATABASE} TO {user}",
    }
    if step == MOUNTING_STEP:
        statements["mount"] = f"GRANT CREATE ON DATABASE {DATABASE} TO {user}"
    return statements


def _grant(role: str, *, step: str, label: str) -> str:
    return grant_statements(role, step)[label]
