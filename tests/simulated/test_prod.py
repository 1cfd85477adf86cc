"""prod in a simulated cloud, from an empty project on, by the commands of `scripts/`; it is protected."""

from collections.abc import Iterator

import pytest

from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, not applied; the tests below go on from each other."""
    yield from simulated("prod", tmp_path_factory)


def test_interrupted_it_keeps_the_cluster(platform: Platform) -> None:
    platform.inject(*SLOW, {"type": "google_container_cluster", "seconds": 10})
    platform.interrupt_deployment("cluster", "google_container_cluster")


def test_resumed_it_goes_through(platform: Platform) -> None:
    platform.inject(*SLOW)
    assert "✓ check the forecasts" in platform.succeed("deploy", "--data", platform.sales)


def test_protected_it_is_not_destroyed(platform: Platform) -> None:
    before = platform.serials()
    refused = platform.script("destroy")
    assert (refused.returncode, platform.serials()) == (1, before)
    assert "prod is protected: set deletion_protection = false in its file" in refused.stderr


def test_changes_update_in_place(platform: Platform) -> None:
    platform.edit('memory( *)= "512Mi"', r'memory\1= "768Mi"')
    platform.edit(r"max_replicas( *)= 5", r"max_replicas\1= 6")
    platform.edit(r"keep_requests_days( *)= \d+", r"keep_requests_days\1= 120")
    platform.unprotect()
    platform.update(
        {
            "foundation": {"google_dns_managed_zone"},
            "cluster": {"google_container_cluster"},
            "data": {"google_bigquery_dataset", "google_bigquery_table", "google_storage_bucket"},
            "orchestration": {"google_secret_manager_secret", "google_storage_bucket"},
            "services": {"kubernetes_deployment_v1", "kubernetes_horizontal_pod_autoscaler_v2"},
        }
    )


def test_destroyed_nothing_is_left(platform: Platform) -> None:
    platform.destroy()


def test_deployed_again_it_takes_over_what_google_kept(platform: Platform) -> None:
    """A pool keeps its name for 30 days, a log bucket for 7, a key ring and a cap for ever."""
    platform.inject()
    refused = " ".join((platform.try_apply("foundation") or "").split())
    assert "workloadIdentityPools/github belongs to a destroyed resource" in refused
    assert "keyRings/sales-forecast belongs to a destroyed resource" in refused
    assert "buckets/audit belongs to a destroyed resource" in refused
    assert "quotaPreferences/bigquery-queries-per-user belongs to a destroyed resource" in refused
    platform.deploy_again()
