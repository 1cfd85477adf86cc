"""Buckets and objects in the Cloud Storage emulator.

The emulator knows a bucket's name and objects. Versioning, lifecycle, access, location and labels are only
recorded in Terraform's state.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from infra.simulator import emulators, rest
from infra.simulator.resources import ResourceError, Values, emulated, refusing
from infra.simulator.terraform import UNKNOWN, is_unknown

_BUCKETS: Final = "/storage/v1/b"


class Bucket(emulated.Emulated):
    """`google_storage_bucket`."""

    emulator, kind, root = "storage", "bucket", f"{_BUCKETS}/"

    def create(self, planned: Values) -> Values:
        self.make(planned, {"name": planned["name"]})
        return planned | {"url": f"gs://{planned['name']}"}

    def delete(self, state: Values) -> None:
        name, objects = state["name"], f"{self.path(state)}/o"
        listing = self.call(f"list bucket {name}", "GET", objects, missing_ok=True)
        names: list[str] = [item["name"] for item in (listing or {}).get("items", [])]
        if names and not state.get("force_destroy"):
            detail = f"it holds {len(names)} objects (first: {names[0]}) and force_destroy is not set"
            raise ResourceError(f"Cannot delete bucket {name}", detail, "force_destroy")
        for each in names:
            path = f"{objects}/{quote(each, safe='')}"
            self.call(f"delete gs://{name}/{each}", "DELETE", path, missing_ok=True)
        super().delete(state)


class Object(emulated.Emulated):
    """`google_storage_bucket_object`, from `content`."""

    emulator, kind = "storage", "object"

    def path(self, values: Values) -> str:
        return f"{_BUCKETS}/{values['bucket']}/o/{quote(values['name'], safe='')}"

    def plan(self, prior: Values | None, planned: Values) -> Values:
        """Compare the hash of what is to be uploaded: the object may have been changed by hand."""
        emulated.refuse(planned, ("metadata", "source"))
        content = planned["content"]
        if is_unknown(planned["content_type"]):
            planned = planned | {"content_type": "text/plain; charset=utf-8"}
        if prior is None or is_unknown(content):
            return planned
        digest = hashlib.md5(content.encode(), usedforsecurity=False).digest()
        if base64.b64encode(digest).decode() == prior["detect_md5hash"]:
            return planned | {"detect_md5hash": prior["detect_md5hash"]}
        hashes = dict.fromkeys(("crc32c", "generation", "md5hash", "md5hexhash"), UNKNOWN)
        return planned | hashes

    def create(self, planned: Values) -> Values:
        """Upload the object; like Cloud Storage, replace an existing one."""
        bucket, name = planned["bucket"], planned["name"]
        path = f"/upload{_BUCKETS}/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        headers, content = {"Content-Type": planned["content_type"]}, planned["content"].encode()
        with refusing(f"Cannot upload gs://{bucket}/{name}", "bucket"):
            live = rest.call("POST", emulators.endpoints().storage, path, content, headers=headers)
        return _observed(planned, live) | {
            "output_name": name,
            "media_link": live["mediaLink"],
            "self_link": f"https://www.googleapis.com{self.path(planned)}",
        }

    def read(self, state: Values) -> Values | None:
        live = self.live(state)
        return _observed(state, live) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        return self.create(planned)


def _observed(values: Values, live: Mapping[str, Any]) -> Values:
    digest = base64.b64decode(live["md5Hash"])
    return values | {
        "detect_md5hash": live["md5Hash"],
        "md5hash": live["md5Hash"],
        "md5hexhash": digest.hex(),
        "crc32c": live["crc32c"],
        "generation": int(live["generation"]),
    }
