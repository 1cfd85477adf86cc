"""Emulators that a command has for itself, and models in them."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final
from unittest import mock

from google.cloud import storage

from infra.simulator import __main__ as simulator
from infra.simulator import emulators
from services.forecasting.model_registry import ModelRegistry

PROJECT: Final = "own"


@contextlib.contextmanager
def own_emulators() -> Generator[None]:
    """Emulators for this process and its children, until the block ends; SimulatorError if one fails."""
    with tempfile.TemporaryDirectory(prefix="emulators-") as home, mock.patch.dict(os.environ):
        os.environ["SIMULATOR_HOME"] = home
        try:
            emulators.ensure()
            os.environ.update(emulators.endpoints().environment)
            yield
        finally:
            simulator.down()


def publish_model(folder: Path, bucket: str) -> ModelRegistry:
    """Publish a trained version in a new bucket of `PROJECT`."""
    storage.Client(project=PROJECT).create_bucket(bucket)
    registry = ModelRegistry(bucket, PROJECT)
    registry.publish(registry.upload(folder).version)
    return registry
