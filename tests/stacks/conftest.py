"""One synthesis for all tests of the session."""

import pytest

from tests.stacks.synthesized import Synthesis, synthesize


@pytest.fixture(scope="session")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Every stack of every committed environment."""
    folder = tmp_path_factory.mktemp("synthesis")
    run = synthesize(folder)
    assert run.returncode == 0, run.stderr
    return Synthesis(folder / "out")
