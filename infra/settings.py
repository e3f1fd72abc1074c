"""The stack's configuration, read once: every key is described in Pulumi.yaml, which has the defaults too."""

from __future__ import annotations

import json
import re
import types
import typing
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

import pulumi

from workflow.names import stack_prefix
from workflow.snapshot import BASIS_OF_RECORD, BASIS_OF_RECORD_BY_SETTING
from workflow.status import CHECKLISTS

LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""What CloudWatch Logs takes (PutRetentionPolicy)."""

MIN_INSTANCE_TYPES = 4
"""Fewer types leave Spot too few places to find capacity in."""


# It looks through a folder of 600 files.
_timezones = lru_cache(available_timezones)


class SettingsError(pulumi.RunError):
    """Pulumi prints its text alone, without a traceback: one sentence for each wrong key."""


@dataclass(frozen=True)
class Settings:
    """One field for each key of Pulumi.yaml (``task_memory_mib`` is ``taskMemoryMiB``); an empty value there is None.

    region and allowed_account_ids are the AWS provider's own keys, ``aws:region`` and ``aws:allowedAccountIds``.
    """

    contact_email: str
    riis_key: str
    county_key: str
    aiannh_key: str
    gbif_bucket: str
    gbif_api: str
    checklist_key: str | None
    country_codes: tuple[str, ...]
    basis_of_record_also: tuple[str, ...]
    snapshot_settle_minutes: int
    max_rows_loss: float
    max_rows_growth: float
    rows_change_stops: bool
    presence_thresholds: tuple[int, ...]
    redshift_base_capacity: int
    redshift_max_capacity: int
    redshift_monthly_usage_limit: int
    task_image: str | None
    task_memory_mib: int
    spot_instance_types: tuple[str, ...]
    spot_max_price: float | None
    on_demand_fallback: bool
    subnet_ids: tuple[str, ...]
    key_name: str | None
    create_spot_service_linked_role: bool
    schedule_timezone: str
    log_retention_days: int
    protect_data: bool
    stack: str
    region: str
    allowed_account_ids: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What the stack's names begin with."""
        return stack_prefix(self.stack)

    @property
    def basis_of_record(self) -> tuple[str, ...]:
        """Kinds of record to keep: BISON's own and those of the configuration."""
        return (*BASIS_OF_RECORD, *self.basis_of_record_also)


def read_settings() -> Settings:
    """The running stack's settings. Raises SettingsError with a sentence for every key that is missing or wrong."""
    values: dict[str, Any] = {"stack": pulumi.get_stack()}
    problems = []
    config, provider_config = pulumi.Config(), pulumi.Config("aws")
    hints = typing.get_type_hints(Settings)
    for field in fields(Settings):
        if field.name == "stack":
            continue
        key = config_key(field.name)
        source = provider_config if field.name in ("region", "allowed_account_ids") else config
        try:
            values[field.name] = _decode(source.get(key), hints[field.name])
        except ValueError as error:
            problems.append(f"{source.full_key(key)} {error}")
    if not problems:
        settings = Settings(**values)
        problems = [f"{config.full_key(key)} {problem}" for key, problem in _problems(settings)]
    if problems:
        raise SettingsError("The stack's configuration is wrong:\n" + "\n".join(f"- {problem}" for problem in problems))
    return settings


def config_key(field: str) -> str:
    """``redshift_base_capacity`` is ``redshiftBaseCapacity`` in Pulumi.yaml; the unit MiB keeps its capital."""
    head, *tail = field.split("_")
    return (head + "".join(word.capitalize() for word in tail)).replace("Mib", "MiB")


def _decode(text: str | None, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return None if text in (None, "") else _decode(text, typing.get_args(hint)[0])
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        found = _parse(text or "[]", list, "a list")
        return tuple(_item(value, item) for value in found)
    if text is None or text == "":
        raise ValueError("is missing: set it with `pulumi config set`.")
    if hint is str:
        return text
    if hint is float:
        return float(_parse(text, (int, float), "a number"))
    return _parse(text, hint, {int: "a whole number", bool: "true or false"}[hint])


def _parse(text: str, kind: Any, words: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"is {text!r}: it must be {words}.")
    return value


def _item(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"has {value!r} in it: its items must be {'text' if kind is str else 'whole numbers'}.")
    return value


def _problems(settings: Settings) -> typing.Iterator[tuple[str, str]]:
    """(key, what is wrong with its value and what it must be)."""
    if not re.fullmatch(r"[^@\s']+@[^@\s']+", settings.contact_email):
        yield "contactEmail", f"is {settings.contact_email!r}: it must be an e-mail address."
    for key, value, suffix in (
        ("riisKey", settings.riis_key, ".csv"),
        ("countyKey", settings.county_key, ".shp"),
        ("aiannhKey", settings.aiannh_key, ".shp"),
    ):
        if not re.fullmatch(rf"input/[^'\n]+{re.escape(suffix)}", value):
            yield key, f"is {value!r}: it must be a key under input/ that ends in {suffix}."
    if settings.gbif_bucket.startswith("gbif-open-data-") and not settings.gbif_bucket.endswith(settings.region):
        yield (
            "gbifBucket",
            f"is {settings.gbif_bucket!r}, but aws:region is {settings.region}: "
            "Redshift reads a snapshot only in its own region.",
        )
    if not re.fullmatch(r"https?://[^'\s]+/v2", settings.gbif_api):
        yield "gbifApi", f"is {settings.gbif_api!r}: it must be a URL that ends in /v2."
    checklists = [checklist.key for checklist in CHECKLISTS]
    if settings.checklist_key is not None and settings.checklist_key not in checklists:
        yield "checklistKey", f"is {settings.checklist_key!r}: it must be empty or one of {', '.join(checklists)}."
    if not settings.country_codes or not all(re.fullmatch("[A-Z]{2}", code) for code in settings.country_codes):
        yield "countryCodes", "must have one or more ISO codes of two capital letters, like US."
    for value in settings.basis_of_record_also:
        if value not in BASIS_OF_RECORD_BY_SETTING:
            yield "basisOfRecordAlso", f"has {value!r} in it: it takes {', '.join(BASIS_OF_RECORD_BY_SETTING)}."
    if not 1 <= settings.snapshot_settle_minutes <= 40:
        yield (
            "snapshotSettleMinutes",
            f"is {settings.snapshot_settle_minutes}: it must be 1 to 40, because the schedule looks twice a day, "
            "40 minutes apart.",
        )
    if not 0 <= settings.max_rows_loss <= 1:
        yield "maxRowsLoss", f"is {settings.max_rows_loss}: it must be a share from 0 to 1."
    if settings.max_rows_growth < 0:
        yield "maxRowsGrowth", f"is {settings.max_rows_growth}: it must be 0 or more."
    thresholds = settings.presence_thresholds
    if 1 not in thresholds or min(thresholds) < 1 or len(set(thresholds)) < len(thresholds):
        yield "presenceThresholds", f"is {list(thresholds)}: it must have 1 in it and no number twice or below 1."
    if settings.redshift_base_capacity != 4 and settings.redshift_base_capacity not in range(8, 513, 8):
        yield (
            "redshiftBaseCapacity",
            f"is {settings.redshift_base_capacity}: Redshift Serverless takes 4, or 8 to 512 in steps of 8.",
        )
    if settings.redshift_max_capacity < settings.redshift_base_capacity:
        yield (
            "redshiftMaxCapacity",
            f"is {settings.redshift_max_capacity}, below redshiftBaseCapacity {settings.redshift_base_capacity}.",
        )
    if settings.redshift_monthly_usage_limit < 1:
        yield "redshiftMonthlyUsageLimit", f"is {settings.redshift_monthly_usage_limit}: it must be 1 or more."
    if settings.task_image is not None and not re.fullmatch(r"[^\s'@]+@sha256:[0-9a-f]{64}", settings.task_image):
        yield "taskImage", f"is {settings.task_image!r}: name the image by digest, like registry/bison@sha256:…"
    if not 256 <= settings.task_memory_mib <= 16384:
        yield "taskMemoryMiB", f"is {settings.task_memory_mib}: it must be 256 to 16384."
    if len(set(settings.spot_instance_types)) < MIN_INSTANCE_TYPES:
        yield "spotInstanceTypes", f"has {len(set(settings.spot_instance_types))} types: it must have four or more."
    for instance_type in settings.spot_instance_types:
        # Graviton families have a g after the generation (t4g, c7gn, im4gn).
        if not re.fullmatch(r"[a-z]+[0-9]+g[a-z]*\.[a-z0-9]+", instance_type):
            yield "spotInstanceTypes", f"has {instance_type!r} in it: the image needs arm64 types, like t4g.small."
    if settings.spot_max_price is not None and settings.spot_max_price <= 0:
        yield "spotMaxPrice", f"is {settings.spot_max_price}: it must be dollars an hour, or empty."
    for subnet in settings.subnet_ids:
        if not re.fullmatch("subnet-[0-9a-f]+", subnet):
            yield "subnetIds", f"has {subnet!r} in it: subnets are called subnet-0123abcd…"
    # A machine without a time zone database cannot tell; AWS will.
    if (timezones := _timezones()) and settings.schedule_timezone not in timezones:
        yield "scheduleTimezone", f"is {settings.schedule_timezone!r}: it must be an IANA name, like America/Denver."
    if settings.log_retention_days not in LOG_RETENTION_DAYS:
        yield (
            "logRetentionDays",
            f"is {settings.log_retention_days}: CloudWatch takes {', '.join(map(str, LOG_RETENTION_DAYS))}.",
        )
