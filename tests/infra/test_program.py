"""The whole program, for each stack: what it registers, how it is wired, and what a changed setting changes."""

from __future__ import annotations

import base64
import json
import re

import pytest
from whole_program import ACCOUNT, SUBNETS, Program, Registered, run_program, strings

from container.userdata import parse_environment
from infra.project import stack_config
from workflow import names
from workflow.environment import FunctionSettings, LauncherSettings, TaskSettings
from workflow.month import Month
from workflow.snapshot import BASIS_OF_RECORD

STACKS = ("prod", "dev", "local")
PREFIX = {"prod": "bison", "dev": "bison_dev", "local": "bison_local"}

# The and docs/design.md's list, written out once more: a renamed function breaks habits and scripts.
FUNCTIONS = {
    "find_current_gbif": "functions.find_current_gbif.handler",
    "s0_test_task": "functions.task_step.handler",
    "s1_annotate_riis": "functions.task_step.handler",
    "s2_load_ancillary": "functions.sql_step.handler",
    "s3_create_bison": "functions.sql_step.handler",
    "s4_intersect_bison": "functions.sql_step.handler",
    "s5_assign_riis": "functions.sql_step.handler",
    "s6_aggregate_region": "functions.sql_step.handler",
    "s7_delete_obsolete": "functions.delete_obsolete.handler",
    "s8_calc_stats": "functions.task_step.handler",
    "watcher": "functions.watcher.handler",
    "sweep": "functions.sweep.handler",
}
TASKS = ("test_task", "annotate_riis", "calc_stats")

OWN_SETTINGS = {
    "checklistKey": "7ddf754f-d193-4cc9-b351-99906754a03b",
    "maxRowsLoss": "0.2",
    "subnetIds": '["subnet-0123"]',
    "keyName": "bison-key",
    "createSpotServiceLinkedRole": "true",
}

NO_DEAD_END = re.compile(r"\bNone\b|Output\[|<pulumi|Calling __str__")


def test_preview_and_update_ask_for_the_same_resources() -> None:
    """A resource made inside an apply is missing from every preview."""
    preview, update = run_program("prod", preview=True), run_program("prod")
    assert {resource.urn for resource in preview.resources} == {resource.urn for resource in update.resources}
    assert len(update.resources) > 150


@pytest.mark.parametrize("stack", STACKS)
def test_no_two_resources_share_a_urn(stack: str) -> None:
    """The engine refuses what the mocks let pass."""
    urns = [resource.urn for resource in run_program(stack).resources]
    assert len(urns) == len(set(urns))


@pytest.mark.parametrize("stack", STACKS)
def test_every_resource_has_a_component_for_parent_and_the_program_s_own_provider(stack: str) -> None:
    """A child without parent loses its provider, and with it region, tags and the account check."""
    program = run_program(stack)
    provider = program.named("aws")
    components = {resource.urn for resource in program.resources if not resource.custom}
    assert len(components) == 7
    for resource in program.resources:
        if resource.custom and resource is not provider:
            assert resource.parent in components, resource.name
        if resource.type.startswith("aws:"):
            assert resource.provider.startswith(provider.urn), resource.name
    assert all(used.startswith(provider.urn) for _, used in program.invokes)


@pytest.mark.parametrize("stack", STACKS)
def test_every_reference_resolves(stack: str) -> None:
    """A misspelt attribute is None under the mocks, and part of an ARN or a script in AWS."""
    for resource in run_program(stack).resources:
        for text in strings(resource.inputs):
            assert not NO_DEAD_END.search(text), f"{resource.name}: {text}"
    for template in run_program(stack).of_type("aws:ec2/launchTemplate:LaunchTemplate"):
        assert not NO_DEAD_END.search(userdata(template))


@pytest.mark.parametrize("stack", STACKS)
def test_names_that_others_rely_on(stack: str) -> None:
    program, prefix = run_program(stack), PREFIX[stack]
    handlers = {name: function.inputs["handler"] for name, function in program.functions().items()}
    assert handlers == {f"{prefix}_{name}": handler for name, handler in FUNCTIONS.items()}
    templates = {template.inputs["name"] for template in program.of_type("aws:ec2/launchTemplate:LaunchTemplate")}
    assert templates == {f"{prefix}_{task}" for task in TASKS}
    bucket = {"prod": "bison", "dev": "bison-dev", "local": "bison-local"}[stack]
    assert program.named("data-bucket").inputs["bucket"] == f"{bucket}-{ACCOUNT}-us-east-1"
    assert program.named("warehouse-workgroup").inputs["workgroupName"] == bucket
    assert program.outputs["bucket"] == f"{bucket}-{ACCOUNT}-us-east-1"


def test_two_stacks_in_one_account_share_no_name() -> None:
    def explicit(stack: str) -> set[str]:
        keys = ("name", "bucket", "workgroupName", "namespaceName")
        return {
            f"{resource.type} {resource.inputs[key]}"
            for resource in run_program(stack).resources
            # Children of the bucket name it, too.
            for key in (keys if not resource.type.startswith("aws:s3/bucketV") else ())
            if isinstance(resource.inputs.get(key), str)
        }

    assert explicit("prod").isdisjoint(explicit("dev"))


def test_names_made_by_pulumi_s_pattern_are_not_too_long_for_aws() -> None:
    """Roles, rules and schedules take 64 characters; the engine finds out half-way through an update."""
    pattern = json.loads(stack_config("prod")["pulumi:autonaming"])["pattern"]
    assert pattern == "${project}-${stack}-${name}-${hex(7)}"
    kinds = ("Role", "EventRule", "Schedule", "ScheduleGroup", "Queue")
    for resource in run_program("prod").resources:
        if resource.type.endswith(tuple(f":{kind}" for kind in kinds)):
            assert len(f"bison-a_long_name-{resource.name}-0a1b2c3") <= 64


@pytest.mark.parametrize(("stack", "protected"), [("prod", True), ("dev", False)])
def test_what_holds_data_is_protected_and_retained_in_prod(stack: str, protected: bool) -> None:
    program = run_program(stack)
    holding = ("data-bucket", "warehouse-namespace", "warehouse-workgroup")
    assert [(program.named(name).protect, program.named(name).retain) for name in holding] == [(protected,) * 2] * 3
    assert not [r.name for r in program.resources if r.protect and r.name not in holding]


def test_the_provider_tags_everything_and_knows_its_account() -> None:
    provider = run_program("prod").named("aws").inputs
    assert json.loads(provider["defaultTags"])["tags"] == {"bison:project": "bison", "bison:stack": "prod"}
    assert provider["region"] == "us-east-1"


@pytest.mark.parametrize("stack", STACKS)
def test_each_function_finds_every_setting_in_its_environment(stack: str) -> None:
    """A variable that nobody sets shows in AWS on the 2nd of the month, at noon."""
    program, prefix = run_program(stack), PREFIX[stack]
    for name, function in program.functions().items():
        variables = function.inputs["environment"]["variables"]
        settings = FunctionSettings.from_environ(variables)
        assert settings.stack == stack
        assert settings.prefix == prefix
        assert settings.bucket == program.outputs["bucket"]
        assert settings.workgroup == program.outputs["workgroup"]
        assert settings.basis_of_record == BASIS_OF_RECORD
        expected = (
            None if name.endswith(("watcher", "sweep")) else re.sub(r"^s\d_", "", name.removeprefix(f"{prefix}_"))
        )
        assert settings.step == expected
        if expected in TASKS:
            launcher = LauncherSettings.from_environ(variables)
            assert launcher.image == program.outputs["taskImage"]
            assert launcher.subnets == tuple(sorted(SUBNETS))
            assert len(set(launcher.instance_types)) >= 4
            assert launcher.max_price is None
        else:
            assert not [variable for variable in variables if variable in LAUNCHER_ONLY]


LAUNCHER_ONLY = ("BISON_IMAGE", "BISON_SUBNETS", "BISON_INSTANCE_TYPES", "BISON_MAX_PRICE", "BISON_ON_DEMAND_FALLBACK")


def userdata(template: Registered) -> str:
    return base64.b64decode(template.inputs["userData"]).decode()


@pytest.mark.parametrize("task", TASKS)
def test_userdata_and_tags_together_are_a_task_s_settings(task: str) -> None:
    program = run_program("local", **OWN_SETTINGS)
    environment = parse_environment(userdata(program.named(f"tasks-{task}")))
    assert environment["TASK_APP"] == f"container.tasks.{task}"
    tags = names.instance_tags("local", Month(2026, 11), task, 2)
    tagged = {tag.replace("bison:", "BISON_").upper(): value for tag, value in tags.items()}
    assert not tagged.keys() & environment.keys()
    settings = TaskSettings.from_environ(environment | tagged)
    assert settings == TaskSettings(
        stack="local",
        month="2026_11_01",
        step=task,
        attempt=2,
        bucket=f"bison-local-{ACCOUNT}-us-east-1",
        gbif_bucket="gbif-open-data-us-east-1",
        code=program.outputs["taskImage"],
        riis_key="input/US-RIIS_MasterList.csv",
        county_key="input/cb_2023_us_county_500k.shp",
        gbif_api="https://api.gbif.org/v2",
        contact="bison@localhost",
        presence_thresholds=(1, 3),
        checklist_key="7ddf754f-d193-4cc9-b351-99906754a03b",
        max_rows_loss=0.2,
        max_rows_growth=0.05,
        rows_change_stops=False,
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_task_s_machine_is_closed_encrypted_and_ends_itself(task: str) -> None:
    template = run_program("prod").named(f"tasks-{task}").inputs
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 2,
        "instanceMetadataTags": "enabled",
    }
    (disk,) = template["blockDeviceMappings"]
    assert disk["ebs"] == {"volumeType": "gp3", "volumeSize": 20, "encrypted": "true", "deleteOnTermination": "true"}
    assert template["instanceInitiatedShutdownBehavior"] == "terminate"
    assert template["imageId"].startswith("resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/")
    assert template["updateDefaultVersion"] is True
    assert not {"instanceMarketOptions", "instanceType", "keyName"} & template.keys()


def test_nothing_comes_in_to_a_task_s_machine() -> None:
    group = run_program("prod").named("tasks-security-group").inputs
    assert group["ingress"] == []
    assert sorted(rule["toPort"] for rule in group["egress"]) == [80, 443]
    assert group["vpcId"] == "vpc-0default"


def test_subnets_and_key_pair_of_the_configuration_are_used() -> None:
    program = run_program("local", **OWN_SETTINGS)
    assert program.named("tasks-security-group").inputs["vpcId"] == "vpc-0own"
    assert program.named("warehouse-workgroup").inputs["subnetIds"] == ["subnet-0123"]
    assert program.named("tasks-calc_stats").inputs["keyName"] == "bison-key"
    variables = program.functions()["bison_local_s8_calc_stats"].inputs["environment"]["variables"]
    assert variables["BISON_SUBNETS"] == "subnet-0123"
    assert program.named("tasks-spot").inputs["awsServiceName"] == "spot.amazonaws.com"
    policy = json.loads(program.named("functions-calc_stats-policy").inputs["policy"])
    launched = next(s for s in policy["Statement"] if s["Action"] == "ec2:RunInstances")["Resource"]
    assert f"arn:aws:ec2:us-east-1:{ACCOUNT}:key-pair/bison-key" in launched
    assert f"arn:aws:ec2:us-east-1:{ACCOUNT}:subnet/subnet-0123" in launched


def test_functions_run_small_and_keep_their_failures() -> None:
    program = run_program("prod")
    queue = program.named("dead-letters-queue")
    for name, function in program.functions().items():
        inputs = function.inputs
        assert (inputs["runtime"], inputs["architectures"]) == ("python3.13", ["arm64"])
        assert inputs["loggingConfig"] == {"logFormat": "JSON", "logGroup": f"/aws/lambda/{name}"}
        failures = program.named(f"{function.name}-failures").inputs
        assert failures["destinationConfig"]["onFailure"]["destination"].endswith(f"{queue.name}-0a1b2c3")
        assert failures["maximumRetryAttempts"] == 2
        # Its first call may come at once: the rights must be there.
        assert any(urn.endswith(f"{function.name}-policy") for urn in function.depends_on)
    groups = {group.inputs["name"]: group.inputs for group in program.of_type("aws:cloudwatch/logGroup:LogGroup")}
    assert groups.keys() == {f"/aws/lambda/{name}" for name in program.functions()} | {"/bison/tasks"}
    assert {group["retentionInDays"] for group in groups.values()} == {90}


def test_the_bucket_is_private_versioned_and_tells_eventbridge() -> None:
    program = run_program("prod")
    assert program.named("data-events").inputs["eventbridge"] is True
    assert program.named("data-versioning").inputs["versioningConfiguration"] == {"status": "Enabled"}
    private = program.named("data-private").inputs
    assert {value for key, value in private.items() if key != "bucket"} == {True}
    assert len(private) == 5
    (rule,) = program.named("data-encryption").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    policy = json.loads(program.named("data-tls-only").inputs["policy"])
    arn = f"arn:aws:s3:::bison-{ACCOUNT}-us-east-1"
    assert policy["Statement"][0]["Resource"] == [arn, f"{arn}/*"]
    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    rules = {rule["id"]: rule for rule in program.named("data-lifecycle").inputs["rules"]}
    assert rules["logs"]["filter"] == {"prefix": "log/"}
    # Nothing else may ever expire: output/ is what people cite.
    assert [name for name, rule in rules.items() if "expiration" in rule] == ["logs"]


def test_redshift_costs_no_more_than_it_may() -> None:
    program = run_program("prod")
    workgroup = program.named("warehouse-workgroup").inputs
    assert (workgroup["baseCapacity"], workgroup["maxCapacity"], workgroup["publiclyAccessible"]) == (4, 32, False)
    limit = program.named("warehouse-usage-limit").inputs
    assert (limit["amount"], limit["period"], limit["breachAction"]) == (100, "monthly", "deactivate")
    assert program.named("warehouse-namespace").inputs["manageAdminPassword"] is True


def test_each_sql_step_s_role_is_granted_its_rights_in_order() -> None:
    program = run_program("prod")
    mounted = []
    for step in (
        "load_ancillary",
        "create_bison",
        "intersect_bison",
        "assign_riis",
        "aggregate_region",
        "delete_obsolete",
    ):
        user = f'"IAMR:functions-{step}-role-0a1b2c3"'
        made, *granted = [r for r in program.resources if re.fullmatch(rf"warehouse-\w+-{step}", r.name)]
        assert made.inputs["sql"] == f"CREATE USER {user} PASSWORD DISABLE"
        assert made.inputs["secretArn"].endswith(":secret:admin")
        for before, statement in zip([made, *granted], granted, strict=False):
            assert before.urn in statement.depends_on
            assert statement.inputs["sql"].endswith(f" TO {user}")
        if any("ON DATABASE" in statement.inputs["sql"] for statement in granted):
            mounted.append(step)
    assert mounted == ["create_bison"]


# ---------------------------------------------------------------------------- what a change changes


def changed(before: Program, after: Program) -> set[str]:
    """Names of the resources whose inputs differ, or that only one of both has."""

    def inputs(program: Program) -> dict[str, str]:
        return {
            r.urn: json.dumps(r.inputs, default=lambda archive: str(sorted(archive.assets))) for r in program.resources
        }

    old, new = inputs(before), inputs(after)
    return {urn.rsplit("::", 1)[1] for urn in old.keys() | new.keys() if old.get(urn) != new.get(urn)}


OTHER_IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/other@sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"spotMaxPrice": ""}, set()),  # the default again: a second run of the same
        ({"redshiftMaxCapacity": "64", "scheduleTimezone": "America/Denver", "taskMemoryMiB": "1800"},
         {"warehouse-workgroup", "triggers-find_current_gbif", "triggers-sweep", *(f"tasks-{task}" for task in TASKS)}),
        ({"taskImage": OTHER_IMAGE},
         {f"{kind}-{task}" for kind in ("tasks", "functions") for task in TASKS} | {"tasks-policy"}),
    ],
)  # fmt: skip
def test_a_setting_changes_only_what_it_is_about(setting: dict[str, str], expected: set[str]) -> None:
    assert changed(run_program("local"), run_program("local", **setting)) == expected
