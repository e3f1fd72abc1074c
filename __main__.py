"""BISON in an AWS account: settings in, components wired, outputs out."""

import pulumi
import pulumi_aws as aws

from infra.bucket import DataBucket, DataBucketArgs
from infra.functions import Functions, FunctionsArgs
from infra.image import TaskImage, TaskImageArgs
from infra.permissions import Place
from infra.settings import read_settings
from infra.spot_tasks import SpotTasks, SpotTasksArgs
from infra.triggers import DeadLetters, Triggers, TriggersArgs
from infra.warehouse import Warehouse, WarehouseArgs
from workflow import names

settings = read_settings()
stack, prefix, region = settings.stack, settings.prefix, settings.region
gbif_bucket_arn = f"arn:aws:s3:::{settings.gbif_bucket}"

provider = aws.Provider(
    "aws",
    region=region,
    allowed_account_ids=list(settings.allowed_account_ids) or None,
    default_tags=aws.ProviderDefaultTagsArgs(tags={"bison:project": "bison", names.TAG_STACK: stack}),
)
here = pulumi.ResourceOptions(providers=[provider])
account = aws.get_caller_identity_output(opts=pulumi.InvokeOutputOptions(provider=provider)).account_id
place = account.apply(lambda account: Place(stack, prefix, region, account))

data = DataBucket(
    "data",
    DataBucketArgs(
        name=account.apply(lambda account: names.bucket_name(stack, account, region)), protect=settings.protect_data
    ),
    here,
)
warehouse = Warehouse(
    "warehouse",
    WarehouseArgs(
        prefix=prefix,
        place=place,
        bucket=data.arn,
        gbif_bucket=gbif_bucket_arn,
        base_capacity=settings.redshift_base_capacity,
        max_capacity=settings.redshift_max_capacity,
        monthly_usage_limit=settings.redshift_monthly_usage_limit,
        subnet_ids=settings.subnet_ids,
        protect=settings.protect_data,
    ),
    here,
)
image = TaskImage("image", TaskImageArgs(prefix=prefix, uri=settings.task_image), here)
tasks = SpotTasks(
    "tasks",
    SpotTasksArgs(
        settings=settings, bucket=data.name, bucket_arn=data.arn, gbif_bucket_arn=gbif_bucket_arn, image=image.uri
    ),
    here,
)
dead_letters = DeadLetters("dead-letters", here)
functions = Functions(
    "functions",
    FunctionsArgs(
        settings=settings,
        place=place,
        bucket=data.name,
        bucket_arn=data.arn,
        gbif_bucket_arn=gbif_bucket_arn,
        workgroup=warehouse.workgroup.workgroup_name,
        workgroup_arn=warehouse.workgroup.arn,
        database=warehouse.database,
        external_schema=warehouse.external_schema,
        glue_database=warehouse.glue_database,
        image=image.uri,
        instance_role_arn=tasks.role.arn,
        security_group_arn=tasks.security_group.arn,
        subnet_ids=tasks.subnet_ids,
        launch_templates={step: template.arn for step, template in tasks.launch_templates.items()},
        dead_letters_arn=dead_letters.arn,
    ),
    here,
)
warehouse.grant({step: role.name for step, role in functions.roles.items()})
Triggers(
    "triggers",
    TriggersArgs(settings=settings, bucket=data.name, functions=functions.functions, dead_letters=dead_letters.queue),
    here,
)

pulumi.export("bucket", data.name)
pulumi.export("workgroup", warehouse.workgroup.workgroup_name)
pulumi.export("taskImage", image.uri)
pulumi.export("taskLogGroup", tasks.log_group.name)
pulumi.export("functions", {name: function.name for name, function in functions.functions.items()})
pulumi.export("deadLetterQueue", dead_letters.queue.url)
