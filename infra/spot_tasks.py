"""Spot tasks: what a task's machine is, one launch template a task. The functions start it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from container.userdata import TAGGED, UserdataValues, render_userdata
from infra.permissions import UBUNTU_PARAMETER, task_policy, trust_policy
from workflow import names
from workflow.environment import TaskSettings
from workflow.steps import STEPS, Kind, Step

if TYPE_CHECKING:
    from infra.settings import Settings

DISK_GB = 20
"""Ubuntu and Docker take 5, the image 1, calc_stats' tables up to 5 GB. 20 GB of gp3 cost a fifth of a cent an hour."""


@dataclass(frozen=True)
class SpotTasksArgs:
    """bucket: name of the data bucket; bucket_arn, gbif_bucket_arn: ARNs. image: the task image by digest."""

    settings: Settings
    bucket: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    gbif_bucket_arn: str
    image: pulumi.Input[str]


class SpotTasks(pulumi.ComponentResource):
    """role: the machines' role. security_group. launch_templates: by step. subnet_ids: where a machine may start."""

    def __init__(self, name: str, args: SpotTasksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("bison:spot_tasks:SpotTasks", name, None, opts)
        settings = args.settings
        child = pulumi.ResourceOptions(parent=self)
        vpc_id, self.subnet_ids = self._network(settings.subnet_ids)

        self.log_group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/{settings.prefix}/tasks",
            retention_in_days=settings.log_retention_days,
            opts=child,
        )
        self.role = aws.iam.Role(
            f"{name}-role",
            description="A task's Spot machine.",
            assume_role_policy=pulumi.Output.json_dumps(trust_policy("ec2.amazonaws.com")),
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-policy",
            role=self.role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(
                    bucket=args.bucket_arn,
                    gbif_bucket=args.gbif_bucket_arn,
                    log_group=self.log_group.arn,
                    image=args.image,
                ).apply(lambda of: task_policy(**of))
            ),
            opts=child,
        )
        self.profile = aws.iam.InstanceProfile(f"{name}-profile", role=self.role.name, opts=child)
        self.security_group = aws.ec2.SecurityGroup(
            f"{name}-security-group",
            description="BISON's tasks: nothing comes in; packages, AWS and GBIF go out.",
            vpc_id=vpc_id,
            ingress=[],
            egress=[_egress(443, "AWS, GBIF"), _egress(80, "Ubuntu's packages")],
            opts=child,
        )
        if settings.create_spot_service_linked_role:
            aws.iam.ServiceLinkedRole(f"{name}-spot", aws_service_name="spot.amazonaws.com", opts=child)
        self.launch_templates = {
            step.name: self._launch_template(name, step, args) for step in STEPS if step.kind is Kind.TASK
        }
        self.register_outputs({"log_group": self.log_group.name, "role": self.role.arn})

    def _network(self, subnet_ids: tuple[str, ...]) -> tuple[pulumi.Output[str], pulumi.Output[list[str]]]:
        """(VPC, subnets): those of the configuration, else the default VPC's."""
        invoke = pulumi.InvokeOutputOptions(parent=self)
        if subnet_ids:
            vpc_id = aws.ec2.get_subnet_output(id=subnet_ids[0], opts=invoke).vpc_id
            return vpc_id, pulumi.Output.from_input(list(subnet_ids))
        vpc_id = aws.ec2.get_vpc_output(default=True, opts=invoke).id.apply(str)
        filters = vpc_id.apply(
            lambda vpc_id: [
                aws.ec2.GetSubnetsFilterArgs(name="vpc-id", values=[vpc_id]),
                aws.ec2.GetSubnetsFilterArgs(name="default-for-az", values=["true"]),
            ]
        )
        return vpc_id, aws.ec2.get_subnets_output(filters=filters, opts=invoke).ids.apply(sorted)

    def _launch_template(self, name: str, step: Step, args: SpotTasksArgs) -> aws.ec2.LaunchTemplate:
        settings = args.settings
        userdata = pulumi.Output.all(bucket=args.bucket, image=args.image, log_group=self.log_group.name).apply(
            lambda of: render_userdata(userdata_values(settings, step, **of))
        )
        label = {names.TAG_STACK: settings.stack, "Name": f"{settings.prefix} {step.name}"}
        return aws.ec2.LaunchTemplate(
            f"{name}-{step.name}",
            name=names.launch_template_name(settings.prefix, step.name),
            description=step.title,
            update_default_version=True,
            image_id=f"resolve:ssm:{UBUNTU_PARAMETER}",
            key_name=settings.key_name,
            user_data=userdata.apply(lambda text: base64.b64encode(text.encode()).decode()),
            # The market (Spot or on demand), the type and the subnet are the fleet request's.
            instance_initiated_shutdown_behavior="terminate",
            iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(arn=self.profile.arn),
            vpc_security_group_ids=[self.security_group.id],
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                http_put_response_hop_limit=2,  # the container is one hop further than the machine
                instance_metadata_tags="enabled",
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name="/dev/sda1",
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=DISK_GB,
                        encrypted="true",
                        delete_on_termination="true",
                    ),
                )
            ],
            tag_specifications=[aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type="volume", tags=label)],
            opts=pulumi.ResourceOptions(parent=self),
        )


def userdata_values(settings: Settings, step: Step, *, bucket: str, image: str, log_group: str) -> UserdataValues:
    """What the machine of a task is told."""
    # Month and attempt are the instance's: its tags have them, and what is TAGGED is left out below.
    task = TaskSettings(
        stack=settings.stack,
        month="",
        step=step.name,
        attempt=0,
        bucket=bucket,
        gbif_bucket=settings.gbif_bucket,
        code=image,
        riis_key=settings.riis_key,
        county_key=settings.county_key,
        gbif_api=settings.gbif_api,
        contact=settings.contact_email,
        country_codes=settings.country_codes,
        presence_thresholds=settings.presence_thresholds,
        checklist_key=settings.checklist_key,
        max_rows_loss=settings.max_rows_loss,
        max_rows_growth=settings.max_rows_growth,
        rows_change_stops=settings.rows_change_stops,
    )
    return UserdataValues(
        region=settings.region,
        bucket=bucket,
        image=image,
        log_group=log_group,
        task_app=step.task_app,
        memory_mib=settings.task_memory_mib,
        limit=step.limit,
        environment={key: value for key, value in task.to_environ().items() if key not in TAGGED},
    )


def _egress(port: int, description: str) -> aws.ec2.SecurityGroupEgressArgs:
    return aws.ec2.SecurityGroupEgressArgs(
        description=description, protocol="tcp", from_port=port, to_port=port, cidr_blocks=["0.0.0.0/0"]
    )
