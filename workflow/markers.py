"""A step's marker: the object whose arrival in S3 says that the step is over, and how."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from workflow import names
from workflow.month import Month


@dataclass(frozen=True)
class Output:
    """An object that the step left: its key, size in bytes and ETag."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Marker:
    """``run/<month>/<step>/success.json`` or ``failure.json``.

    month: in the form ``2026_11_01``. started, finished: ISO 8601 in UTC. counts: numbers that the step found, by
    name. code: image digest or code hash. error: for a failure only, in words that a person can act on.
    """

    month: str
    step: str
    attempt: int
    started: str
    finished: str
    outputs: tuple[Output, ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """A failure is a marker with an error."""
        return self.error is None

    @property
    def key(self) -> str:
        """Where the marker lies in the data bucket."""
        return names.run_key(Month.parse(self.month), self.step, "success" if self.succeeded else "failure")

    def to_json(self) -> str:
        """The object's text; a success has no member ``error``."""
        body = asdict(self)
        if self.error is None:
            del body["error"]
        return json.dumps(body, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Marker:
        """Raises ValueError if the text is no marker."""
        try:
            body = json.loads(text)
            body["outputs"] = tuple(Output(**output) for output in body.get("outputs", ()))
            return cls(**body)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"This is no step's marker: {error}") from error
