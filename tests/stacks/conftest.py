"""One synthesis for all tests of the session."""

import pytest

from infra import environment
from tests.stacks.synthesized import Synthesis, synthesize


@pytest.fixture(scope="session")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Every stack of every committed environment."""
    folder = tmp_path_factory.mktemp("synthesis")
    run = synthesize(folder)
    assert run.returncode == 0, run.stderr
    return Synthesis(folder / "out")


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """An environment with push delivery, ordering, two more topics for replies, and IAP."""
    folder = tmp_path_factory.mktemp("pushed")
    text = (environment.DIRECTORY / "staging.tfvars").read_text()
    for section, lines in (
        ("streaming = {", 'delivery = "push"\n  reply_topics = ["shop-replies", "depot"]'),
        ("gateway = {", 'iap_members = ["group:sales@example.com"]'),
        ("messaging = {", "ordering = true\n  max_delivery_attempts = 9"),
    ):
        assert section in text
        text = text.replace(section, f"{section}\n  {lines}")
    (folder / "pushed.tfvars").write_text(text)
    run = synthesize(folder, PLATFORM_ENVIRONMENTS=str(folder))
    assert run.returncode == 0, run.stderr
    return Synthesis(folder / "out")
