"""The month's report: one HTML file that needs no network, for a screen, a phone and paper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np

from container.report.content import (
    STATUS_WORDS,
    CountyShare,
    counted,
    county_shares,
    make_content,
    month_name,
    percent,
)
from container.report.county_map import FRAMES, HEIGHT, WIDTH, CountyMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from container.manifest import Manifest
    from container.report.inputs import ReportTables
    from container.statistics import DiversityStatistics

_FOLDER = Path(__file__).parent

RAMP = ("#eef5cf", "#c5e3b6", "#84c8ba", "#44a7bb", "#2877a8", "#253d80")
"""From few to many: lightness falls evenly, and the hues stay apart in every common kind of colour blindness.

After ColorBrewer's YlGnBu (Brewer and Harrower), a little calmer at its light end.
"""


@dataclass(frozen=True)
class MapClass:
    """Counties drawn alike. css: their class in the SVG. paths: (path data, text of the tooltip)."""

    css: str
    color: str
    label: str
    paths: list[tuple[str, str]]


def render_report(
    manifest: Manifest,
    tables: ReportTables,
    county_map: CountyMap,
    statistics: Sequence[tuple[int, DiversityStatistics, str]],
) -> str:
    """The report's HTML.

    statistics: for each presence threshold the numbers and the suffix of their files.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "percent": percent,
        "month_name": month_name,
        "duration": _duration,
        "status": lambda status: STATUS_WORDS.get(status, status),
    }
    environment.globals["counted"] = counted
    return environment.get_template("report.html.j2").render(
        content=make_content(manifest, tables, statistics),
        classes=classify(county_map, county_shares(tables.county_counts)),
        state_borders=county_map.state_borders,
        frames=FRAMES,
        width=WIDTH,
        height=HEIGHT,
        style=(_FOLDER / "report.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "report.js").read_text(encoding="utf-8"),
    )


def classify(county_map: CountyMap, shares: dict[str, CountyShare]) -> list[MapClass]:
    """The counties by class of share, in the legend's order: the shares upwards, not assessed, no records.

    A county of the map that has no entry in ``shares`` has no records.
    """
    assessed = [entry.share for entry in shares.values() if entry.share is not None]
    breaks = class_breaks(assessed)
    colors = [RAMP[round(place)] for place in np.linspace(0, len(RAMP) - 1, len(breaks) + 1)]
    classes = [
        MapClass(f"s{index}", color, label, [])
        for index, (color, label) in enumerate(zip(colors, _labels(breaks), strict=True))
    ]
    not_assessed = MapClass("not-assessed", "url(#dots)", "not in the register's area", [])
    no_records = MapClass("no-records", "url(#hatch)", "no records", [])
    for county in county_map.counties:
        entry = shares.get(county.county_geoid)
        if entry is None:
            no_records.paths.append((county.path, f"{county.census_state} {county.name}: no records."))
        elif entry.share is None:
            not_assessed.paths.append((county.path, entry.text))
        else:
            classes[int(np.searchsorted(breaks, entry.share, side="right"))].paths.append((county.path, entry.text))
    return [*(classes if assessed else ()), not_assessed, no_records]


def class_breaks(shares: list[float]) -> list[float]:
    """Whole percents that divide the shares into up to six classes of about as many counties each."""
    if not shares:
        return []
    sixths = np.quantile(shares, np.arange(1, len(RAMP)) / len(RAMP))
    return sorted({round(float(value), 2) for value in sixths if min(shares) < round(float(value), 2) <= max(shares)})


def _labels(breaks: list[float]) -> list[str]:
    if not breaks:
        return ["all counties"]
    percents = [round(value * 100) for value in breaks]
    between = [f"{low} to under {high}%" for low, high in pairwise(percents)]
    return [f"under {percents[0]}%", *between, f"{percents[-1]}% and more"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    return f"{minutes} min" if minutes < 60 else f"{hours} h {round(seconds / 60) - hours * 60} min"
