"""The month's snapshot as GBIF's public bucket shows it, and whether it can be taken for complete."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.attempts import timestamp
from workflow import names

if TYPE_CHECKING:
    from functions.store import Store
    from workflow.month import Month

CITATION = "citation.txt"


@dataclass(frozen=True)
class Listing:
    """What a look at the snapshot saw.

    files, bytes: of the data files that are not empty. citation: whether GBIF's ``citation.txt`` lies there too. hash:
    of every object's key, size and ETag. since: when the listing was first seen like this. seen: when it was seen last.
    Times are ISO 8601 in UTC.
    """

    files: int
    bytes: int
    citation: bool
    hash: str
    since: str
    seen: str

    @property
    def counts(self) -> dict[str, int]:
        """What goes into the step's marker."""
        return {"files": self.files, "bytes": self.bytes}

    def missing(self, bucket: str, month: Month) -> str | None:
        """What a complete snapshot has and this one lacks, in words; None if nothing."""
        place = f"s3://{bucket}/{names.snapshot_prefix(month)}"
        if self.files == 0:
            return f"there are no data files under s3://{bucket}/{names.snapshot_parquet_prefix(month)}"
        return None if self.citation else f"{place}{CITATION} is not there, {self.files} data files are"

    def settled(self, minutes: int) -> bool:
        """Whether nothing has changed for that long."""
        return datetime.fromisoformat(self.seen) - datetime.fromisoformat(self.since) >= timedelta(minutes=minutes)

    def to_body(self) -> dict[str, Any]:
        """The listing as JSON."""
        return asdict(self)


def look(gbif: Store, month: Month, time: datetime, last: dict[str, Any] | None) -> Listing:
    """List the month's snapshot. time: now, by the event's word. last: the body of the listing before, if any."""
    digest = hashlib.sha256()
    files = size = 0
    citation = False
    for item in gbif.objects(names.snapshot_prefix(month)):
        digest.update(f"{item.key}\t{item.size}\t{item.etag}\n".encode())
        if item.key == names.snapshot_prefix(month) + CITATION:
            citation = True
        elif item.key.startswith(names.snapshot_parquet_prefix(month)) and item.size > 0:
            files += 1
            size += item.size
    seen = timestamp(time)
    same = last is not None and last["hash"] == digest.hexdigest()
    return Listing(files, size, citation, digest.hexdigest(), last["since"] if last and same else seen, seen)
