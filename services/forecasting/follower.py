"""Follows the registry's pointer: the version it names is served, and a new one needs no restart."""

import dataclasses
import datetime
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import prometheus_client

from services.contracts.model import Manifest
from services.forecasting.artifact import CorruptModelError, Model
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError

_log = logging.getLogger(__name__)

_MODEL = prometheus_client.Info("model", "The model version served.")
_AGE = prometheus_client.Gauge("model_age_seconds", "Time since the model served was trained.")
_RELOADS = prometheus_client.Counter(
    "model_reloads", "Attempts to load a version the pointer names.", ["outcome"]
)

Served = TypeVar("Served")


@dataclasses.dataclass(frozen=True)
class ServedModel(Generic[Served]):
    """A loaded version and what the service prepared from it."""

    manifest: Manifest
    prepared: Served


class ModelFollower(Generic[Served]):
    """Polls the pointer in a thread and swaps to the version it names.

    A version is loaded, verified and prepared beside the one being served, then takes its place in
    one assignment: a reader that keeps `current` for the length of a request never sees a mixture.
    On any failure the old version stays, `error` says why, and the next poll tries again.
    Rolling back is moving the pointer.

    Args:
        registry: Where versions and the pointer are.
        prepare: Called in the thread, with each version loaded; makes what the service answers from.
        poll_seconds: Time between two looks at the pointer.

    Attributes:
        current: What is served, once a version is loaded.
        previous: The version the pointer named before, if it did and the registry has it.
        error: Why the version the pointer names is not served, if so.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        prepare: Callable[[Model], Served],
        poll_seconds: float,
    ) -> None:
        self.current: ServedModel[Served] | None = None
        self.previous: Manifest | None = None
        self.error: str | None = "the model is being loaded"
        self._registry = registry
        self._prepare = prepare
        self._poll_seconds = poll_seconds
        self._generation: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-follower", daemon=True)
        for outcome in ("loaded", "failed"):
            _RELOADS.labels(outcome)

    def start(self) -> None:
        """Load what the pointer names, and follow it from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A load under way is left to end by itself."""
        self._stopping.set()

    def _follow(self) -> None:
        while True:
            try:
                self._poll()
            # Whatever is wrong with a new version, or on the way to it, the old one serves on.
            except Exception as error:
                _RELOADS.labels("failed").inc()
                # A fault that lasts is logged once, not at every poll.
                message = f"{type(error).__name__}: {error}"
                if message != self.error:
                    _log.exception("model not loaded")
                self.error = message
            if self._stopping.wait(self._poll_seconds):
                return

    def _poll(self) -> None:
        changed = self._registry.pointer(unless=self._generation)
        if changed is None:
            self.error = None if self.current else "no model is published yet"
            return
        pointer, generation = changed
        model = self._registry.load(pointer.version)
        manifest = model.manifest
        served = ServedModel(manifest, self._prepare(model))
        self.previous = self._manifest(pointer.previous)
        self.current = served
        self._generation = generation
        self.error = None
        _RELOADS.labels("loaded").inc()
        _MODEL.info({"version": manifest.version})
        _AGE.set_function(lambda: (datetime.datetime.now(datetime.UTC) - manifest.created_at).total_seconds())
        _log.info("serving model %s", manifest.version)

    def _manifest(self, version: str | None) -> Manifest | None:
        """That of a version which is told of, not served: its absence is no fault of the one served."""
        try:
            return self._registry.manifest(version) if version else None
        except (UnknownVersionError, CorruptModelError) as error:
            _log.warning("of the version before: %s", error)
            return None
