"""The configuration: what Pulumi.yaml declares, and what is refused in words."""

from __future__ import annotations

import json
from dataclasses import fields

import pulumi
import pytest
import yaml

from infra.project import PROJECT_FOLDER, stack_config
from infra.settings import Settings, SettingsError, config_key, read_settings

PROJECT = yaml.safe_load((PROJECT_FOLDER / "Pulumi.yaml").read_text())
PROVIDERS_OWN = {"stack", "region", "allowed_account_ids"}


def read(**overrides: str | None) -> Settings:
    """The dev stack's settings with some keys set (None: missing)."""
    config = stack_config("dev") | {f"bison:{key}" if ":" not in key else key: v for key, v in overrides.items()}
    pulumi.runtime.set_all_config({key: value for key, value in config.items() if value is not None})
    pulumi.runtime.settings.configure(pulumi.runtime.settings.Settings("bison", "dev"))
    return read_settings()


def test_pulumi_yaml_declares_every_setting_and_no_other() -> None:
    """A key without declaration has no default; a declared one that nobody reads does nothing."""
    declared = {key for key in PROJECT["config"] if ":" not in key}
    assert declared == {config_key(field.name) for field in fields(Settings) if field.name not in PROVIDERS_OWN}


def test_pulumi_runs_the_environment_that_setup_makes_and_does_not_change_it() -> None:
    """Toolchain uv needs uv on the PATH, and brings the environment to versions that no lock names before each run."""
    assert PROJECT["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
    assert ".venv/.ready:" in (PROJECT_FOLDER / "Makefile").read_text()
    # Pulumi's pip would install this one, where there is one.
    assert not (PROJECT_FOLDER / "requirements.txt").exists()


@pytest.mark.parametrize("key", [key for key in PROJECT["config"] if ":" not in key])
def test_every_key_has_a_type_that_pulumi_knows_a_description_and_a_default(key: str) -> None:
    declared = PROJECT["config"][key]
    assert declared["type"] in ("string", "integer", "boolean", "array")  # Pulumi's project schema
    assert len(declared["description"]) > 20
    assert key == "contactEmail" or "default" in declared
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list}
    assert isinstance(declared.get("default", ""), kinds[declared["type"]])


def test_the_engine_s_texts_become_values() -> None:
    settings = read(
        countryCodes='["US","PR"]',
        spotMaxPrice="0.02",
        rowsChangeStops="false",
        basisOfRecordAlso='["MATERIAL_SAMPLE"]',
    )
    assert settings.country_codes == ("US", "PR")
    assert settings.spot_max_price == 0.02
    assert settings.rows_change_stops is False
    assert settings.basis_of_record[-2:] == ("PRESERVED_SPECIMEN", "MATERIAL_SAMPLE")
    assert settings.task_image is None
    assert settings.max_rows_growth == 0.05
    assert settings.log_retention_days == 14  # the stack's own value, not the project's
    assert settings.allowed_account_ids == ()
    assert read(**{"aws:allowedAccountIds": '["123456789012"]'}).allowed_account_ids == ("123456789012",)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("contactEmail", None, "is missing"),
        ("contactEmail", "nobody", "e-mail"),
        ("riisKey", "US-RIIS.csv", "under input/"),
        ("countyKey", "input/counties.zip", "ends in .shp"),
        ("aiannhKey", "input/it's.shp", "under input/"),
        ("gbifBucket", "gbif-open-data-eu-central-1", "region"),
        ("gbifApi", "https://api.gbif.org/v1", "/v2"),
        ("checklistKey", "backbone", "7ddf754f-d193-4cc9-b351-99906754a03b"),
        ("countryCodes", "[]", "ISO"),
        ("countryCodes", '["us"]', "capital"),
        ("countryCodes", "US", "a list"),
        ("basisOfRecordAlso", '["FOSSIL_SPECIMEN"]', "MATERIAL_CITATION"),
        ("snapshotSettleMinutes", "60", "40"),
        ("snapshotSettleMinutes", "soon", "whole number"),
        ("snapshotSettleMinutes", "true", "whole number"),
        ("maxRowsLoss", "1%", "a number"),
        ("maxRowsLoss", "5", "0 to 1"),
        ("maxRowsGrowth", "-0.1", "0 or more"),
        ("rowsChangeStops", "no", "true or false"),
        ("presenceThresholds", "[3]", "1 in it"),
        ("presenceThresholds", "[1, 1]", "twice"),
        ("presenceThresholds", '["1"]', "whole numbers"),
        ("redshiftBaseCapacity", "6", "steps of 8"),
        ("redshiftMaxCapacity", "2", "below redshiftBaseCapacity"),
        ("redshiftMonthlyUsageLimit", "0", "1 or more"),
        ("taskImage", "bison:latest", "by digest"),
        ("taskMemoryMiB", "100", "256"),
        ("spotInstanceTypes", '["t4g.small"]', "four or more"),
        ("spotInstanceTypes", '["t4g.small", "t4g.medium", "c7g.medium", "m5.large"]', "arm64"),
        ("spotMaxPrice", "-1", "dollars"),
        ("subnetIds", '["vpc-1"]', "subnet-"),
        ("scheduleTimezone", "Kansas", "IANA"),
        ("logRetentionDays", "15", "14"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence_that_names_its_key(key: str, value: str | None, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(**{key: value})
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 1
    assert lines[0].startswith(f"- bison:{key} ")
    assert says in lines[0]


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)bison:maxRowsLoss.*bison:logRetentionDays"):
        read(maxRowsLoss="7", logRetentionDays="2")


@pytest.mark.parametrize("stack", ["dev", "prod", "local"])
def test_stack_files_set_only_declared_keys(stack: str) -> None:
    """A misspelt key in a stack file is silently ignored."""
    own = yaml.safe_load((PROJECT_FOLDER / f"Pulumi.{stack}.yaml").read_text())["config"]
    assert {key.removeprefix("bison:") for key in own if key.startswith("bison:")} <= PROJECT["config"].keys()
    assert own["aws:region"] == "us-east-1"
    assert json.loads(stack_config(stack)["pulumi:disable-default-providers"]) == ["aws"]
