"""Buckets and objects in the Cloud Storage emulator.

The emulator knows a bucket's name and objects. Versioning, lifecycle, access, location and labels are only
recorded in Terraform's state.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from infra.simulator import rest
from infra.simulator.resources import Handler, ResourceError, Values, emulated
from infra.simulator.values import UNKNOWN, is_unknown

_STORAGE: Final = emulated.Service("storage")


def _bucket_path(name: str) -> str:
    return emulated.path("storage", "v1", "b", name)


def _object_path(bucket: str, name: str) -> str:
    return _bucket_path(bucket) + emulated.path("o", name)


class Bucket(Handler):
    """`google_storage_bucket`."""

    def create(self, planned: Values) -> Values:
        name: str = planned["name"]
        _STORAGE.create(
            f"create bucket {name}",
            "POST",
            "/storage/v1/b",
            {"name": name},
            resource=_bucket_path(name),
        )
        return planned | {
            "id": name,
            "self_link": f"https://www.googleapis.com/storage/v1/b/{name}",
            "url": f"gs://{name}",
        }

    def read(self, state: Values) -> Values | None:
        name: str = state["name"]
        live = _STORAGE.read(f"read bucket {name}", _bucket_path(name))
        return state if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        return planned

    def delete(self, state: Values) -> None:
        name: str = state["name"]
        listing = _STORAGE.read(f"list bucket {name}", f"{_bucket_path(name)}/o")
        objects: list[str] = [item["name"] for item in (listing or {}).get("items", [])]
        if objects and not state.get("force_destroy"):
            raise ResourceError(
                f"Cannot delete bucket {name}",
                f"it holds {len(objects)} objects (first: {objects[0]}) and force_destroy is not set",
                "force_destroy",
            )
        for item in objects:
            _STORAGE.delete(f"delete gs://{name}/{item}", _object_path(name, item))
        _STORAGE.delete(f"delete bucket {name}", _bucket_path(name))


class Object(Handler):
    """`google_storage_bucket_object`: from `content`, or the file `source`."""

    def plan(self, prior: Values | None, planned: Values) -> Values:
        """Compare the hash of what is to be uploaded: its file may have changed, or the object by hand."""
        if planned["source"] is not None:
            planned = planned | {"content": None}
        if prior is None or is_unknown(planned["content"]) or is_unknown(planned["source"]):
            return planned
        found = planned["content"] is not None or Path(planned["source"] or "").is_file()
        if found and _md5(_content(planned)) == prior["detect_md5hash"]:
            return planned | {"detect_md5hash": prior["detect_md5hash"]}
        hashes = dict.fromkeys(("crc32c", "generation", "md5hash", "md5hexhash"), UNKNOWN)
        return planned | hashes

    def create(self, planned: Values) -> Values:
        """Upload the object; like Cloud Storage, replace an existing one."""
        bucket, name = planned["bucket"], planned["name"]
        emulated.refuse(planned, ("metadata",))
        try:
            live = rest.call(
                "POST",
                _STORAGE.address,
                f"/upload{_bucket_path(bucket)}/o?uploadType=media&name={quote(name, safe='')}",
                content=(planned.get("content_type") or _media_type(planned), _content(planned)),
            )
        except rest.RestError as error:
            raise ResourceError(f"Cannot upload gs://{bucket}/{name}", str(error), "bucket") from error
        return _observed(planned, live) | {
            "id": f"{bucket}-{name}",
            "output_name": name,
            "media_link": live["mediaLink"],
            "self_link": f"https://www.googleapis.com{_object_path(bucket, name)}",
        }

    def read(self, state: Values) -> Values | None:
        bucket, name = state["bucket"], state["name"]
        live = _STORAGE.read(f"read gs://{bucket}/{name}", _object_path(bucket, name))
        if live is None:
            return None
        return _observed(state, live)

    def update(self, prior: Values, planned: Values) -> Values:
        return self.create(planned)

    def delete(self, state: Values) -> None:
        bucket, name = state["bucket"], state["name"]
        _STORAGE.delete(f"delete gs://{bucket}/{name}", _object_path(bucket, name))


def _content(values: Values) -> bytes:
    if values.get("content") is not None:
        return str(values["content"]).encode()
    source = values.get("source")
    if not source:
        raise ResourceError(f"Object {values['name']} has no content", "set `content` or `source`", "source")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ResourceError(
            f"Cannot read {source}", f"{error.strerror} (from {Path.cwd()})", "source"
        ) from error


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _media_type(values: Values) -> str:
    # As the real provider: text for `content`, nothing specific for a file.
    return "text/plain; charset=utf-8" if values.get("content") is not None else "application/octet-stream"


def _observed(values: Values, live: Mapping[str, Any]) -> Values:
    digest = base64.b64decode(live["md5Hash"])
    return values | {
        "detect_md5hash": live["md5Hash"],
        "md5hash": live["md5Hash"],
        "md5hexhash": digest.hex(),
        "crc32c": live["crc32c"],
        "generation": int(live["generation"]),
    }


HANDLERS: Final[Mapping[str, Handler]] = {
    "google_storage_bucket": Bucket(),
    "google_storage_bucket_object": Object(),
}
