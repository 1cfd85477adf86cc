"""Emulators that a command has for itself."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from unittest import mock

from infra.simulator import __main__ as simulator
from infra.simulator import emulators


@contextlib.contextmanager
def own_emulators() -> Generator[None]:
    """Start emulators for this process and its children; they end with the block.

    Raises:
        EmulatorError: one does not start.
    """
    with tempfile.TemporaryDirectory(prefix="emulators-") as home, mock.patch.dict(os.environ):
        os.environ["SIMULATOR_HOME"] = home
        try:
            emulators.ensure()
            os.environ.update(emulators.endpoints().environment)
            yield
        finally:
            simulator.down()
