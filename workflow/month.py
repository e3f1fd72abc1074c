"""The month that a run is about, as one value object passed on from the event to the last SQL name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

_FORMS = re.compile(r"^(\d{4})[-_](\d{2})(?:[-_](\d{2}))?(?:T.*)?$")


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month. GBIF publishes one snapshot for each.

    >>> Month.parse("2026-11").name
    '2026_11_01'
    """

    year: int
    month: int

    def __post_init__(self) -> None:
        if not 1 <= self.month <= 12:
            raise ValueError(f"{self.year}-{self.month:02d} is no month: expected 01 to 12 after the year.")

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``2026-11``, ``2026_11_01``, a date in the month, or an ISO timestamp in it.

        Raises ValueError in words that name the text given.
        """
        match = _FORMS.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no month: write it like 2026-11.")
        year, month, day = match.groups()
        if day is not None:
            try:
                date(int(year), int(month), int(day))
            except ValueError as error:
                raise ValueError(f"{text!r} is no date ({error}): write a month like 2026-11.") from error
        return cls(int(year), int(month))

    @property
    def name(self) -> str:
        """The month in every name of ours: ``2026_11_01``."""
        return f"{self.year:04d}_{self.month:02d}_01"

    @property
    def snapshot_date(self) -> str:
        """The month in GBIF's path: ``2026-11-01``."""
        return f"{self.year:04d}-{self.month:02d}-01"

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month(self.year - 1, 12) if self.month == 1 else Month(self.year, self.month - 1)

    @property
    def next(self) -> Month:
        """The month after."""
        return Month(self.year + 1, 1) if self.month == 12 else Month(self.year, self.month + 1)

    def __str__(self) -> str:
        """The month for people: ``2026-11``."""
        return f"{self.year:04d}-{self.month:02d}"
