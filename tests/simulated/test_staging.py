"""staging in a simulated cloud, without deletion protection: it recovers from faults."""

from collections.abc import Iterator

import pytest

from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow


BROKEN = [
    {"type": "google_bigquery_table", "skip": 1, "error": "Error 503: backendError"},
    {"type": "google_container_node_pool", "error": "Error 403: quota exceeded"},
    {"type": "google_pubsub_subscription", "skip": 2, "error": "Error 503: backendError"},
    {"type": "kubernetes_deployment_v1", "skip": 1, "error": "the server is currently unable to handle it"},
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, synthesized; the tests below go on from each other."""
    for platform in simulated("staging", tmp_path_factory):
        platform.unprotect()
        platform.synthesize()
        yield platform


def test_a_second_apply_repairs_a_failed_one(platform: Platform) -> None:
    platform.inject(*SLOW, *BROKEN)
    assert set(platform.apply_all()) == {"cluster", "data", "messaging", "services"}


def test_a_plan_after_the_apply_is_empty(platform: Platform) -> None:
    assert platform.plan() == []


def test_nothing_is_left_after_destruction(platform: Platform) -> None:
    platform.destroy()
