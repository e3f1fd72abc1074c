"""A public S3 bucket that is a folder: read only, listed and read in ranges, never loaded into memory."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import escape

from werkzeug.utils import send_file
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from moto.core.request import Request

MOST_KEYS = 1000


@dataclass(frozen=True)
class PublicBucket:
    """Serves ``root`` as ``s3://name/``; an object's key is its file's path below the root.

    page: keys in one answer at most, as S3 does with 1,000.
    """

    name: str
    root: Path
    page: int = MOST_KEYS

    def answer(self, operation: str, key: str, request: Request) -> Response:
        """Answer one of the operations that reading needs; S3's own errors for the rest."""
        if operation == "HeadBucket":
            return Response(status=200)
        if operation == "ListObjectsV2":
            return self._list(request.args)
        if operation in ("GetObject", "HeadObject"):
            path = self.root / key
            if ".." in key.split("/") or not path.is_file():
                return s3_error(404, "NoSuchKey", "The specified key does not exist.", head=operation == "HeadObject")
            return self._send(path, request)
        return s3_error(403, "AccessDenied", f"s3://{self.name} is public and can only be read, not {operation}.")

    def _send(self, path: Path, request: Request) -> Response:
        response: Response = send_file(
            path, request.environ, mimetype="binary/octet-stream", conditional=True, etag=_etag(path)
        )
        response.headers["Accept-Ranges"] = "bytes"
        return response

    def _keys(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self.root.rglob("*"), key=lambda path: path.relative_to(self.root).as_posix().encode()):
            if path.is_file():
                yield path.relative_to(self.root).as_posix(), path

    def _list(self, parameters: Mapping[str, str]) -> Response:
        prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter", "")
        most = min(int(parameters.get("max-keys", self.page)), self.page)
        after = parameters.get("start-after", "")
        if token := parameters.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        text = quote if parameters.get("encoding-type") == "url" else escape
        entries: list[str] = []
        common = last = ""
        truncated = False
        for key, path in self._keys():
            if not key.startswith(prefix) or key <= after or (after.endswith("/") and key.startswith(after)):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            group = prefix + head + delimiter if found else ""
            if group and group == common:
                continue
            if len(entries) == most:
                truncated = True
                break
            common, last = group, group or key
            entries.append(
                f"<CommonPrefixes><Prefix>{text(group)}</Prefix></CommonPrefixes>" if group else _entry(text(key), path)
            )
        following = base64.urlsafe_b64encode(last.encode()).decode()
        return Response(
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.name}</Name><Prefix>{text(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(truncated).lower()}</IsTruncated>"
            + ("<EncodingType>url</EncodingType>" if text is quote else "")
            + (f"<NextContinuationToken>{following}</NextContinuationToken>" if truncated else "")
            + "".join(entries)
            + "</ListBucketResult>",
            mimetype="application/xml",
        )


def _entry(key: str, path: Path) -> str:
    status = path.stat()
    modified = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;{_etag(path)}&quot;</ETag>"
        f"<Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _etag(path: Path) -> str:
    # From size and time, not from the content: a snapshot's files are too large to read for a listing.
    status = path.stat()
    return hashlib.md5(f"{status.st_size}/{status.st_mtime_ns}".encode(), usedforsecurity=False).hexdigest()


def s3_error(status: int, code: str, message: str, *, head: bool = False) -> Response:
    """An error in S3's form; an answer to HEAD has no body."""
    body = "" if head else f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(body, status=status, mimetype="application/xml")
