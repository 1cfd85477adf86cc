"""The model registry: a bucket with a folder for each version, and a pointer to the version to serve.

The storage client reads STORAGE_EMULATOR_HOST.
"""

import datetime
from pathlib import Path

import msgspec
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from services.contracts.model import (
    DECISION_FILE,
    MANIFEST_FILE,
    MODEL_PREFIX,
    POINTER_OBJECT,
    Decision,
    Manifest,
    Pointer,
)
from services.forecasting import artifact
from services.forecasting.artifact import SERVED_FILES, CorruptModelError, Model, corrupt

_TIMEOUT = 10
# The client's default, 120 s, is too long for a command and for the follower.
_RETRY = DEFAULT_RETRY.with_timeout(30.0)
# For the pointer: repeating a write that has arrived fails as if another writer had moved it.
_NO_RETRY = DEFAULT_RETRY.with_predicate(lambda _: False)


class UnknownVersionError(LookupError):
    """The registry has no complete version of this name."""


class VersionExistsError(Exception):
    """The registry has this version with other content; versions are never overwritten."""


class PointerMovedError(Exception):
    """Another writer moved the pointer; nothing was published."""


class ModelRegistry:
    """Versions and pointer in a bucket; `project` defaults to that of the credentials.

    Methods raise UnknownVersionError for a version that is absent or incomplete, CorruptModelError for an
    object that is not what it should be, `google.api_core.exceptions.GoogleAPIError` or an exception of
    `requests` when the bucket is absent or the server cannot be reached.
    """

    def __init__(self, bucket_name: str, project: str | None = None):
        self._bucket = storage.Client(project=project).bucket(bucket_name)

    def upload(self, directory: Path) -> Manifest:
        """Upload the version in `directory`, its manifest last; again to complete an interrupted upload.

        VersionExistsError says that an object of this version exists with other content.
        """
        manifest, files = artifact.read(directory)
        for name in (*manifest.files, MANIFEST_FILE):
            object_ = _object(manifest.version, name)
            try:
                self._write(object_, files[name], if_generation_match=0)
            except exceptions.PreconditionFailed:
                if self._read(object_) != files[name]:
                    address = f"gs://{self._bucket.name}/{object_}"
                    raise VersionExistsError(f"{address} exists with other content") from None
        return manifest

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version."""
        name = _object(version, MANIFEST_FILE)
        content = self._read(name)
        if content is None:
            problem = f"has no complete version {version}: {name} is missing"
            raise UnknownVersionError(f"gs://{self._bucket.name} {problem}")
        manifest = artifact.load_manifest(content)
        if manifest.version != version:
            raise CorruptModelError(name, f"is the manifest of version {manifest.version}")
        return manifest

    def check(self, version: str) -> Manifest:
        """The manifest of a version, each object of which is what it says."""
        manifest = self.manifest(version)
        for name in manifest.files:
            self._file(manifest, name)
        return manifest

    def load(self, version: str) -> Model:
        """Load a version for serving."""
        manifest = self.manifest(version)
        return artifact.load_model(manifest, {name: self._file(manifest, name) for name in SERVED_FILES})

    def pointer(self, *, unless: int | None = None) -> tuple[Pointer, int] | None:
        """The pointer and its generation, or None where there is none or its generation is still `unless`.

        CorruptModelError says that it cannot be read, or is gone although it had the generation `unless`.
        """
        blob = self._bucket.blob(POINTER_OBJECT)
        try:
            content = blob.download_as_bytes(if_generation_not_match=unless, timeout=_TIMEOUT, retry=_RETRY)
        except exceptions.NotModified:
            return None
        except exceptions.NotFound:
            if unless is None:
                return None
            raise CorruptModelError(POINTER_OBJECT, "it is gone; publish a version") from None
        # The download's own headers carry the generation of what was downloaded.
        if blob.generation is None:
            raise CorruptModelError(POINTER_OBJECT, "the server did not say its generation")
        if int(blob.generation) == unless:  # an emulator that ignores the condition
            return None
        with corrupt(POINTER_OBJECT):
            return msgspec.json.decode(content, type=Pointer), int(blob.generation)

    def publish(self, version: str, *, generation: int | None = None) -> Pointer:
        """Check all objects of a version, then move the pointer to it.

        PointerMovedError says that the pointer has another generation than the one expected: 0 means that
        there is none, None takes the present one.
        """
        self.check(version)
        current, present = self.pointer() or (None, 0)
        if generation is None:
            generation = present
        previous = current and (current.previous if current.version == version else current.version)
        pointer = Pointer(version, datetime.datetime.now(datetime.UTC), previous)
        try:
            content = msgspec.json.encode(pointer)
            self._write(POINTER_OBJECT, content, if_generation_match=generation, retry=_NO_RETRY)
        except exceptions.PreconditionFailed:
            problem = f"gs://{self._bucket.name}/{POINTER_OBJECT} is no longer of generation {generation}"
            raise PointerMovedError(f"{problem}; look at what it points to, then publish again") from None
        return pointer

    def decision(self, version: str) -> Decision | None:
        """The decision about a version, if there is one."""
        name = _object(version, DECISION_FILE)
        content = self._read(name)
        with corrupt(name):
            return None if content is None else msgspec.json.decode(content, type=Decision)

    def decide(self, version: str, decision: Decision) -> None:
        """Write the decision about a version, over an earlier one."""
        self._write(_object(version, DECISION_FILE), msgspec.json.encode(decision))

    def _file(self, manifest: Manifest, name: str) -> bytes:
        content = self._read(_object(manifest.version, name))
        if content is None:
            raise CorruptModelError(_object(manifest.version, name), "missing")
        artifact.verify(manifest, name, content)
        return content

    def _write(
        self, name: str, content: bytes, *, if_generation_match: int | None = None, retry: Retry = _RETRY
    ) -> None:
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        self._bucket.blob(name).upload_from_string(
            content, kind, if_generation_match=if_generation_match, timeout=_TIMEOUT, retry=retry
        )

    def _read(self, name: str) -> bytes | None:
        """The content of an object; None if there is none."""
        try:
            return self._bucket.blob(name).download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)
        except exceptions.NotFound:
            return None


def _object(version: str, name: str) -> str:
    return f"{MODEL_PREFIX}/{version}/{name}"
