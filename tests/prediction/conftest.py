"""Prediction services as processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Models, Service, service


@pytest.fixture(scope="module")
def predicting(shared_models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with model v1 that the tests of a module share and do not change."""
    shared_models.publish("v1")
    log = tmp_path_factory.mktemp("prediction") / "service.log"
    running = service("services.prediction", {**shared_models.environment, "MAX_RANGE": "28"}, log)
    running.start()
    yield running.wait_ready()
    running.kill()


@pytest.fixture
def own(models: Models, tmp_path: Path) -> Iterator[Service]:
    """A service of one test, not started, with an empty registry."""
    prepared = service(
        "services.prediction", {**models.environment, "DRAIN_SECONDS": "1"}, tmp_path / "service.log"
    )
    yield prepared
    prepared.kill()
