"""staging in a simulated cloud, without deletion protection."""

from collections.abc import Iterator

import pytest

from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, synthesized; the tests below go on from each other."""
    for platform in simulated("staging", tmp_path_factory):
        platform.unprotect()
        platform.synthesize()
        yield platform


def test_all_stacks_apply(platform: Platform) -> None:
    platform.inject(*SLOW)
    assert platform.apply_all() == []


def test_a_plan_after_the_apply_is_empty(platform: Platform) -> None:
    assert platform.plan() == []


def test_nothing_is_left_after_destruction(platform: Platform) -> None:
    platform.destroy()
