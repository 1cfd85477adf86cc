"""The model registry: a bucket with `sales/<version>/` folders and one pointer, `sales/current.json`.

The pointer alone decides what is served; rolling back is moving it. STORAGE_EMULATOR_HOST, where set,
says which server is meant (the storage client reads it).
"""

import datetime
from pathlib import Path

import msgspec
from google.api_core import exceptions
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
from services.forecasting.artifact import SERVED_FILES, CorruptModelError, Model

_TIMEOUT = 10
# The client's own limit, 120 s, would keep a person or a poll waiting for a server that is gone.
_RETRY = DEFAULT_RETRY.with_timeout(30.0)
# For the pointer: the repeat of a write that did arrive would look like somebody else's.
_NO_RETRY = DEFAULT_RETRY.with_predicate(lambda _: False)


class UnknownVersionError(LookupError):
    """The registry has no complete version of this name."""


class VersionExistsError(Exception):
    """The registry has this version already, with other content; versions are never overwritten."""


class PointerMovedError(Exception):
    """Somebody else moved the pointer in between; nothing was published."""


class ModelRegistry:
    """Versions and pointer in a bucket.

    Every method raises `google.api_core.exceptions.GoogleAPIError`, or a `requests` exception, when the
    bucket is absent or the server cannot be reached.
    """

    def __init__(self, bucket_name: str, project: str | None = None):
        """Address the registry in `bucket_name`; `project` defaults to that of the credentials."""
        self._bucket = storage.Client(project=project).bucket(bucket_name)

    def upload(self, directory: Path) -> Manifest:
        """Upload the version saved in `directory`, its manifest last.

        Uploading the same content again is fine and completes an upload that was cut short.

        Raises:
            CorruptModelError: a file in `directory` differs from its manifest.
            VersionExistsError: an object of this version exists with other content.
        """
        manifest, files = artifact.read(directory)
        for name in (*manifest.files, MANIFEST_FILE):
            blob = self._bucket.blob(_object(manifest.version, name))
            try:
                blob.upload_from_string(
                    files[name],
                    content_type="application/octet-stream",
                    if_generation_match=0,
                    timeout=_TIMEOUT,
                    retry=_RETRY,
                )
            except exceptions.PreconditionFailed:
                if self._download(blob) != files[name]:
                    raise VersionExistsError(
                        f"gs://{self._bucket.name}/{blob.name} exists with other content"
                    ) from None
        return manifest

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version.

        Raises:
            UnknownVersionError: the version is absent or incomplete.
            CorruptModelError: the object is not a manifest.
        """
        name = _object(version, MANIFEST_FILE)
        try:
            content = self._download(self._bucket.blob(name))
        except exceptions.NotFound:
            raise UnknownVersionError(
                f"gs://{self._bucket.name} has no complete version {version}: {name} is missing"
            ) from None
        manifest = artifact.load_manifest(content)
        if manifest.version != version:
            raise CorruptModelError(name, f"is the manifest of version {manifest.version}")
        return manifest

    def load(self, version: str) -> Model:
        """A version, as services serve it.

        Raises:
            UnknownVersionError: the version is absent or incomplete.
            CorruptModelError: an object is not what the manifest says.
        """
        manifest = self.manifest(version)
        return artifact.load_model(manifest, {name: self._file(manifest, name) for name in SERVED_FILES})

    def pointer(self) -> tuple[Pointer, int] | None:
        """The pointer and its generation, or None when nothing was ever published.

        Raises:
            CorruptModelError: the object is not a pointer.
        """
        return self.pointer_if_changed(None)

    def pointer_if_changed(self, generation: int | None) -> tuple[Pointer, int] | None:
        """The pointer and its generation, or None when its generation is still the given one.

        None, too, when there is no pointer: whoever has a model keeps it.

        Raises:
            CorruptModelError: the object is not a pointer.
        """
        blob = self._bucket.blob(POINTER_OBJECT)
        try:
            content = blob.download_as_bytes(
                if_generation_not_match=generation, timeout=_TIMEOUT, retry=_RETRY
            )
        except (exceptions.NotFound, exceptions.NotModified):
            return None
        # The download's own headers carry the generation of what was downloaded.
        if blob.generation is None:
            raise CorruptModelError(POINTER_OBJECT, "the server did not say its generation")
        if int(blob.generation) == generation:  # a server that ignores the condition
            return None
        try:
            return msgspec.json.decode(content, type=Pointer), int(blob.generation)
        except msgspec.MsgspecError as error:
            raise CorruptModelError(POINTER_OBJECT, str(error)) from None

    def publish(self, version: str, *, generation: int | None = None) -> Pointer:
        """Move the pointer to a version, all of whose objects are read and checked first.

        Args:
            version: what to serve.
            generation: of the pointer this one replaces, 0 for none; the present one if not given.

        Raises:
            UnknownVersionError: the version is absent or incomplete.
            CorruptModelError: an object of the version is not what its manifest says.
            PointerMovedError: the pointer is of another generation by now.
        """
        manifest = self.manifest(version)
        for name in manifest.files:
            self._file(manifest, name)
        current, present = self.pointer() or (None, 0)
        if generation is None:
            generation = present
        previous = None
        if current is not None:
            previous = current.previous if current.version == version else current.version
        pointer = Pointer(version, datetime.datetime.now(datetime.UTC), previous)
        try:
            self._bucket.blob(POINTER_OBJECT).upload_from_string(
                msgspec.json.encode(pointer),
                content_type="application/json",
                if_generation_match=generation,
                timeout=_TIMEOUT,
                retry=_NO_RETRY,
            )
        except exceptions.PreconditionFailed:
            raise PointerMovedError(
                f"gs://{self._bucket.name}/{POINTER_OBJECT} is no longer of generation {generation}; "
                f"look at what it points to, then publish again"
            ) from None
        return pointer

    def decision(self, version: str) -> Decision | None:
        """What was decided about a version, or None when nothing was yet.

        Raises:
            CorruptModelError: the object is not a decision.
        """
        name = _object(version, DECISION_FILE)
        try:
            return msgspec.json.decode(self._download(self._bucket.blob(name)), type=Decision)
        except exceptions.NotFound:
            return None
        except msgspec.MsgspecError as error:
            raise CorruptModelError(name, str(error)) from None

    def decide(self, version: str, decision: Decision) -> None:
        """Keep a decision about a version in the place of an earlier one."""
        self._bucket.blob(_object(version, DECISION_FILE)).upload_from_string(
            msgspec.json.encode(decision), content_type="application/json", timeout=_TIMEOUT, retry=_RETRY
        )

    def _file(self, manifest: Manifest, name: str) -> bytes:
        """A file of a version, checked against its manifest."""
        try:
            content = self._download(self._bucket.blob(_object(manifest.version, name)))
        except exceptions.NotFound:
            raise CorruptModelError(_object(manifest.version, name), "missing") from None
        artifact.verify(manifest, name, content)
        return content

    @staticmethod
    def _download(blob: storage.Blob) -> bytes:
        return blob.download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)


def _object(version: str, name: str) -> str:
    return f"{MODEL_PREFIX}/{version}/{name}"
