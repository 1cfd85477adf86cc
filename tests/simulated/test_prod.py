"""prod in a simulated cloud, which protects its data and clusters: `scripts/deploy` from an empty project."""

import re
from collections.abc import Iterator

import pytest

from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, synthesized; the tests below go on from each other."""
    for platform in simulated("prod", tmp_path_factory):
        platform.synthesize()
        yield platform


def test_it_is_deployed_from_an_empty_project(platform: Platform) -> None:
    platform.inject(*SLOW)
    assert "✓ check the forecasts" in platform.succeed("deploy", "--data", platform.sales)


def test_a_plan_after_the_apply_is_empty(platform: Platform) -> None:
    assert platform.plan() == []


def test_protected_stacks_are_not_destroyed(platform: Platform) -> None:
    # Resources without protection are destroyed, so these stacks are applied again below.
    for stack in ("orchestration", "data", "cluster"):
        done = platform.terraform(stack, "destroy", "-auto-approve", "-refresh=false")
        assert done.returncode == 1
        assert re.search(r"deletion_protection|prevent_destroy", done.stderr), done.stderr


def test_nothing_is_left_after_unprotected_destruction(platform: Platform) -> None:
    platform.unprotect()
    platform.synthesize()
    platform.apply("data", "cluster", "orchestration")
    platform.destroy()


def test_what_a_destroyed_environment_left_is_taken_over(platform: Platform) -> None:
    """A pool keeps its name for 30 days, a log bucket for 7, a key ring and a cap for ever."""
    refused = platform.try_apply("foundation")
    refused = " ".join((refused or "").split())
    assert "workloadIdentityPools/github belongs to a destroyed resource" in refused
    assert "keyRings/sales-forecast belongs to a destroyed resource" in refused
    assert "buckets/audit belongs to a destroyed resource" in refused
    assert "quotaPreferences/bigquery-queries-per-user belongs to a destroyed resource" in refused
    platform.bootstrap()
    planned = platform.terraform("foundation", "plan")
    assert "must be replaced" not in planned.stdout
    platform.apply("foundation")
    done = platform.terraform("foundation", "destroy", "-auto-approve", "-refresh=false")
    assert done.returncode == 0, done.stderr
    assert platform.resources() == []
