"""The data bucket as the functions use it: small JSON files, markers, which attempt is under way, listings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from functions.aws import error_code
from workflow import names
from workflow.markers import Marker
from workflow.month import Month

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

_MISSING = ("NoSuchKey", "404", "NotFound")
# 412: the condition does not hold. 409: another conditional write to the key is under way.
_NOT_AS_EXPECTED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


@dataclass(frozen=True)
class Attempt:
    """An attempt at a step, as ``log/<month>/<step>/current.json`` has it.

    started: ISO 8601 in UTC. first: the attempt since which a person or new input last started the step over: the
    automatic retries of a task are counted from it. after: attempt of the step before whose success it builds on;
    None for a step that follows none.
    """

    number: int
    started: str
    first: int
    after: int | None = None

    @property
    def tries(self) -> int:
        """How many attempts, this one with them, there were since ``first``."""
        return self.number - self.first + 1

    @property
    def start_time(self) -> datetime:
        """``started`` as a time."""
        return datetime.fromisoformat(self.started)


@dataclass(frozen=True)
class StoredAttempt:
    """An attempt with the ETag of the object that it was read from."""

    attempt: Attempt
    etag: str


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it. size: bytes. modified: when it was written, in UTC, to the second."""

    key: str
    size: int
    etag: str
    modified: datetime


class Store:
    """Reads and writes of one bucket. AWS's errors pass through, but for a missing key."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket

    def read(self, key: str, byte_range: str | None = None) -> bytes | None:
        """The object's content, or None if there is no such key. byte_range: like ``bytes=0-8191``."""
        found = self._get(key, byte_range)
        return None if found is None else found[0]

    def _get(self, key: str, byte_range: str | None = None) -> tuple[bytes, str] | None:
        try:
            if byte_range is None:
                answer = self.s3.get_object(Bucket=self.bucket, Key=key)
            else:
                answer = self.s3.get_object(Bucket=self.bucket, Key=key, Range=byte_range)
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise
        return answer["Body"].read(), answer["ETag"]

    def size(self, key: str) -> int | None:
        """Bytes of the object, or None if there is no such key."""
        try:
            return self.s3.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise

    def read_json(self, key: str) -> Any:
        """The object's JSON, or None if there is no such key."""
        text = self.read(key)
        return None if text is None else json.loads(text)

    def write_json(self, key: str, body: Any) -> None:
        """Write the object, whatever was there."""
        self._put(key, body)

    def write_json_if(self, key: str, body: Any, etag: str | None) -> bool:
        """Write only if the object is still the one with that ETag (None: not there yet); else change nothing.

        Returns whether it was written.
        """
        try:
            self._put(key, body, **({"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}))
        except ClientError as error:
            if error_code(error) in _NOT_AS_EXPECTED:
                return False
            raise
        return True

    def _put(self, key: str, body: Any, **condition: Any) -> None:
        text = json.dumps(body, indent=2, ensure_ascii=False)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=text.encode(), ContentType="application/json", **condition)

    def delete(self, *keys: str) -> None:
        """Delete the objects; a missing one is no error. Raises RuntimeError if S3 keeps one."""
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
            if errors := answer.get("Errors"):
                first = errors[0]
                raise RuntimeError(
                    f"S3 did not delete {len(errors)} objects, the first {first.get('Key')}: {first.get('Message')}"
                )

    def copy(self, source: str, key: str) -> str:
        """Copy an object of at most 5 GB within the bucket; gives the copy's ETag."""
        answer = self.s3.copy_object(Bucket=self.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": source})
        return answer["CopyObjectResult"]["ETag"].strip('"')

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under a prefix, in the order of the keys."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                yield StoredObject(entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"])

    def months(self, prefix: str) -> tuple[Month, ...]:
        """The months that have something under ``run/``, ``log/``, ``summary/`` …, in order."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
        found = set()
        for page in pages:
            for entry in page.get("CommonPrefixes", ()):
                try:
                    found.add(Month.parse(entry["Prefix"].removeprefix(prefix).strip("/")))
                except ValueError:
                    continue
        return tuple(sorted(found))

    # ------------------------------------------------------------------------ markers and attempts

    def attempt(self, month: Month, step: str) -> StoredAttempt | None:
        """The step's newest attempt, or None if it was never started."""
        found = self._get(names.current_attempt_key(month, step))
        if found is None:
            return None
        body = json.loads(found[0])
        number = body["attempt"]
        return StoredAttempt(Attempt(number, body["started"], body.get("first", number), body.get("after")), found[1])

    def write_attempt(self, month: Month, step: str, attempt: Attempt, etag: str | None) -> bool:
        """Note the attempt as the newest, unless another invocation did so since ``etag`` was read."""
        body = asdict(attempt)
        body = {"attempt": body.pop("number"), **body}
        return self.write_json_if(names.current_attempt_key(month, step), body, etag)

    def marker(self, month: Month, step: str, attempt: int | None) -> Marker | None:
        """How the attempt ended: its success or failure marker, or None while it is under way.

        attempt: None takes a marker of any attempt. Success counts before failure.
        """
        for key in (names.success_key(month, step), names.failure_key(month, step)):
            text = self.read(key)
            if text is not None:
                marker = Marker.from_json(text)
                if attempt is None or marker.attempt == attempt:
                    return marker
        return None

    def write_marker(self, marker: Marker) -> None:
        """Write the step's end; a success takes an earlier failure away."""
        self.s3.put_object(
            Bucket=self.bucket, Key=marker.key, Body=marker.to_json().encode(), ContentType="application/json"
        )
        if marker.succeeded:
            self.delete(names.failure_key(Month.parse(marker.month), marker.step))


class MonthView(Store):
    """A month's markers and attempts as they were when first read, for looking at all its steps in few requests.

    Other keys read as missing; what is written is not seen.
    """

    def __init__(self, store: Store, month: Month) -> None:
        super().__init__(store.s3, store.bucket)
        prefixes = (f"{names.RUN}{month.name}/", f"{names.LOG}{month.name}/")
        self._keys = {item.key for prefix in prefixes for item in self.objects(prefix)}
        self._found: dict[str, tuple[bytes, str] | None] = {}

    def _get(self, key: str, byte_range: str | None = None) -> tuple[bytes, str] | None:
        if key not in self._keys:
            return None
        if key not in self._found:
            self._found[key] = super()._get(key, byte_range)
        return self._found[key]
