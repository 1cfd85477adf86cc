"""staging in a simulated cloud, from an empty project on, by the commands of `scripts/`."""

from collections.abc import Iterator

import pytest

from tests.simulated.simulated_platform import Platform, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, not applied; the tests below go on from each other."""
    for platform in simulated("staging", tmp_path_factory):
        platform.unprotect()
        yield platform


def test_it_is_deployed_from_an_empty_project(platform: Platform) -> None:
    assert "✓ check the forecasts" in platform.succeed("deploy", "--data", platform.sales)


def test_a_change_updates_in_place(platform: Platform) -> None:
    platform.edit("max_count = 3", "max_count = 4")
    platform.edit(r"retention_days( *)= \d+", r"retention_days\1= 10")
    platform.update(
        {"messaging": {"google_pubsub_subscription"}, "orchestration": {"google_composer_environment"}}
    )


def test_destroyed_nothing_is_left(platform: Platform) -> None:
    platform.destroy()


def test_deployed_again_its_plan_is_empty(platform: Platform) -> None:
    platform.deploy_again()
