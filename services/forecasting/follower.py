"""Follows the registry's pointer and loads the version that it names, without a restart."""

import dataclasses
import datetime
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import prometheus_client

from services.contracts.messages import Readiness
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
    """A loaded version and what the service prepared of it."""

    manifest: Manifest
    prepared: Served


class ModelFollower(Generic[Served]):
    """Polls the pointer in a thread and switches to the version that it names.

    A new version replaces the present one in a single assignment, after it is loaded, verified and prepared:
    a request that keeps `current` sees one version only. On a failure the present version stays, `error`
    says why, and the next poll tries again. `prepare` makes what the service answers from, in the thread.
    """

    def __init__(self, registry: ModelRegistry, prepare: Callable[[Model], Served], poll_seconds: float):
        self.current: ServedModel[Served] | None = None
        self.previous: Manifest | None = None  # what the pointer named before, if the registry has it
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
        """Start polling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; a load that has begun goes on in its thread."""
        self._stopping.set()

    def readiness(self, fault: str | None = None) -> Readiness:
        """Ready are services with a version and without another `fault`."""
        model = self.current
        return Readiness(
            ready=model is not None and not fault,
            model=model.manifest.version if model else None,
            fault=fault or self.error,
        )

    def _follow(self) -> None:
        while True:
            try:
                self._poll()
            # Whatever is wrong with a new version or the registry, the present version stays.
            except Exception as error:
                _RELOADS.labels("failed").inc()
                # A lasting error is logged once, not at every poll.
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
        """The manifest of the previous version; None if it cannot be read, as it is shown only."""
        try:
            return self._registry.manifest(version) if version else None
        except (UnknownVersionError, CorruptModelError) as error:
            _log.warning("previous version: %s", error)
            return None
