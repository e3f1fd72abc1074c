"""The settings that a function or a task finds in its environment: written by ``infra``, read by the rest.

Each field of a class is one variable, ``BISON_<FIELD>``; a tuple is comma-separated, None is an unset variable.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "BISON_"


class SettingError(ValueError):
    """A variable is missing or has a value of the wrong form."""


class _Environment:
    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read every field. Raises SettingError that names the variable."""
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            variable = PREFIX + field.name.upper()
            if variable in environ:
                values[field.name] = _decode(variable, environ[variable], hints[field.name])
            elif field.default is MISSING:
                raise SettingError(f"The environment has no {variable}: the Pulumi program sets it.")
        return cls(**values)

    def to_environ(self) -> dict[str, str]:
        """Every field that is not None, by variable."""
        environ = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                environ[PREFIX + field.name.upper()] = _encode(value)
        return environ


def _encode(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def _decode(variable: str, text: str, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    try:
        if hint is bool:
            return {"true": True, "false": False}[text]
        if typing.get_origin(hint) is tuple:
            of = typing.get_args(hint)[0]
            return tuple(of(item) for item in text.split(",") if item)
        return hint(text)
    except (KeyError, ValueError) as error:
        raise SettingError(f"{variable}={text!r} is not of the form that it needs ({hint}).") from error


@dataclass(frozen=True)
class FunctionSettings(_Environment):
    """What every function is told.

    stack: Pulumi's stack name. prefix: what function, statement and template names begin with.
    bucket: the data bucket. gbif_bucket: GBIF's public bucket. code: hash of the functions' zip.
    workgroup, database: Redshift Serverless. external_schema, glue_database: where the snapshot is mounted.
    riis_key, county_key, aiannh_key: objects in the data bucket (the latter two end in ``.shp``).
    country_codes, basis_of_record: what the US subset keeps.
    snapshot_settle_minutes: how far apart two equal listings of a complete snapshot must be.
    step: the step that the function starts; None for the watcher and the sweep.
    """

    stack: str
    prefix: str
    bucket: str
    gbif_bucket: str
    code: str
    workgroup: str
    database: str
    external_schema: str
    glue_database: str
    riis_key: str
    county_key: str
    aiannh_key: str
    country_codes: tuple[str, ...]
    basis_of_record: tuple[str, ...]
    snapshot_settle_minutes: int
    step: str | None = None


@dataclass(frozen=True)
class LauncherSettings(_Environment):
    """What a function that starts a task is told beside FunctionSettings.

    image: the task image by digest (the marker's code). instance_types: at least four arm64 types. subnets: where the
    instance may start. max_price: dollars an hour for Spot, None for the on-demand price. on_demand_fallback: whether
    a first attempt without Spot capacity may start on demand.
    """

    image: str
    instance_types: tuple[str, ...]
    subnets: tuple[str, ...]
    on_demand_fallback: bool = True
    max_price: float | None = None


@dataclass(frozen=True)
class TaskSettings(_Environment):
    """What a task is told: the first four come from the instance's tags, the rest from its launch template.

    month: ``2026_11_01``. code: image digest, or the local run's code hash. gbif_api: root of GBIF's API, ending in
    ``/v2``. contact: e-mail address for the User-Agent. checklist_key: fixes the snapshot's taxonomy; None finds it.
    country_codes: what the US subset keeps.
    presence_thresholds: least occurrences that make a species present in a county.
    max_rows_loss, max_rows_growth: how far the snapshot's rows may be from last month's, as shares (0.01, 0.05);
    rows_change_stops: False reports a larger change instead of failing (the local run, whose inputs may be any).
    """

    stack: str
    month: str
    step: str
    attempt: int
    bucket: str
    gbif_bucket: str
    code: str
    riis_key: str
    county_key: str
    gbif_api: str
    contact: str
    country_codes: tuple[str, ...] = ("US",)
    presence_thresholds: tuple[int, ...] = (1, 3)
    checklist_key: str | None = None
    max_rows_loss: float = 0.01
    max_rows_growth: float = 0.05
    rows_change_stops: bool = True
