"""States, their RIIS region and their neighbours; what the Census Bureau's LSAD codes add to a county's name."""

from __future__ import annotations

from dataclasses import dataclass

L48 = "L48"
AK = "AK"
HI = "HI"
RIIS_REGIONS = (AK, HI, L48)
"""The register's localities. L48 stands for the other 48 states and DC."""


@dataclass(frozen=True)
class State:
    """statefp: FIPS code of the state. census_state: postal abbreviation. riis_region: None for a territory."""

    statefp: str
    census_state: str
    name: str
    riis_region: str | None


def _states() -> tuple[State, ...]:
    rows = """
    01 AL Alabama|02 AK Alaska|04 AZ Arizona|05 AR Arkansas|06 CA California|08 CO Colorado|09 CT Connecticut
    10 DE Delaware|11 DC District of Columbia|12 FL Florida|13 GA Georgia|15 HI Hawaii|16 ID Idaho|17 IL Illinois
    18 IN Indiana|19 IA Iowa|20 KS Kansas|21 KY Kentucky|22 LA Louisiana|23 ME Maine|24 MD Maryland
    25 MA Massachusetts|26 MI Michigan|27 MN Minnesota|28 MS Mississippi|29 MO Missouri|30 MT Montana
    31 NE Nebraska|32 NV Nevada|33 NH New Hampshire|34 NJ New Jersey|35 NM New Mexico|36 NY New York
    37 NC North Carolina|38 ND North Dakota|39 OH Ohio|40 OK Oklahoma|41 OR Oregon|42 PA Pennsylvania
    44 RI Rhode Island|45 SC South Carolina|46 SD South Dakota|47 TN Tennessee|48 TX Texas|49 UT Utah|50 VT Vermont
    51 VA Virginia|53 WA Washington|54 WV West Virginia|55 WI Wisconsin|56 WY Wyoming
    60 AS American Samoa|66 GU Guam|69 MP Commonwealth of the Northern Mariana Islands|72 PR Puerto Rico
    78 VI United States Virgin Islands
    """
    states = []
    for row in rows.replace("\n", "|").split("|"):
        if row.strip():
            statefp, abbreviation, name = row.strip().split(" ", 2)
            territory = int(statefp) >= 60
            region = None if territory else abbreviation if abbreviation in (AK, HI) else L48
            states.append(State(statefp, abbreviation, name, region))
    return tuple(states)


STATES: tuple[State, ...] = _states()
"""The 50 states, DC and the five territories that the county file holds, by FIPS code."""

BY_ABBREVIATION = {state.census_state: state for state in STATES}
BY_FIPS = {state.statefp: state for state in STATES}

LSAD_SUFFIX: dict[str, str] = {
    "00": "",
    "03": "City and Borough",
    "04": "Borough",
    "05": "Census Area",
    "06": "County",
    "07": "District",
    "10": "Island",
    "12": "Municipality",
    "13": "Municipio",
    "15": "Parish",
    "25": "city",
    "PL": "Planning Region",
}
"""What follows NAME in a county's full name (NAMELSAD), by Legal/Statistical Area Description code.

Source: Census Bureau, "Legal/Statistical Area Description (LSAD) Codes and Definitions"; for files that have no
NAMELSAD column (before 2020).
"""

_NEIGHBOURS = {
    "AL": "FL GA MS TN", "AZ": "CA NM NV UT", "AR": "LA MO MS OK TN TX", "CA": "AZ NV OR", "CO": "KS NE NM OK UT WY",
    "CT": "MA NY RI", "DE": "MD NJ PA", "DC": "MD VA", "FL": "AL GA", "GA": "AL FL NC SC TN", "ID": "MT NV OR UT WA WY",
    "IL": "IA IN KY MO WI", "IN": "IL KY MI OH", "IA": "IL MN MO NE SD WI", "KS": "CO MO NE OK",
    "KY": "IL IN MO OH TN VA WV", "LA": "AR MS TX", "ME": "NH", "MD": "DC DE PA VA WV", "MA": "CT NH NY RI VT",
    "MI": "IN OH WI", "MN": "IA ND SD WI", "MS": "AL AR LA TN", "MO": "AR IA IL KS KY NE OK TN", "MT": "ID ND SD WY",
    "NE": "CO IA KS MO SD WY", "NV": "AZ CA ID OR UT", "NH": "MA ME VT", "NJ": "DE NY PA", "NM": "AZ CO OK TX",
    "NY": "CT MA NJ PA VT", "NC": "GA SC TN VA", "ND": "MN MT SD", "OH": "IN KY MI PA WV", "OK": "AR CO KS MO NM TX",
    "OR": "CA ID NV WA", "PA": "DE MD NJ NY OH WV", "RI": "CT MA", "SC": "GA NC", "SD": "IA MN MT ND NE WY",
    "TN": "AL AR GA KY MO MS NC VA", "TX": "AR LA NM OK", "UT": "AZ CO ID NV WY", "VT": "MA NH NY",
    "VA": "DC KY MD NC TN WV", "WA": "ID OR", "WV": "KY MD OH PA VA", "WI": "IA IL MI MN", "WY": "CO ID MT NE SD UT",
}  # fmt: skip

ADJACENT_STATES: dict[str, tuple[str, ...]] = {
    state.census_state: tuple(_NEIGHBOURS.get(state.census_state, "").split()) for state in STATES
}
"""States that share a border line on land or in a river; a corner point (Four Corners) or open water is none."""
