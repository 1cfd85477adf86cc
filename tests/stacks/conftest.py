"""Two syntheses for all tests of a run."""

import re

import pytest

from infra.environment.files import DIRECTORY
from tests.conftest import EXISTING
from tests.stacks.synthesized import Synthesis, committed, synthesize_once


@pytest.fixture(scope="session")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Every stack of every committed environment."""
    return committed(tmp_path_factory)


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Production with what no committed environment asks for, each within its folder's parent as a file.

    - `pushed`: push delivery, two more topics for replies, a public Gateway.
    - `closed`: no Gateway; CI is GitLab's.
    - `paged`: PagerDuty, a budget.
    - `shared`: the network of a Shared VPC, a company's repository and key.
    """
    prod = (DIRECTORY / "prod.tfvars").read_text()
    by_traffic = 'autoscaling  = { by = "traffic", requests_per_second = 50 }'
    replies = 'reply_topics = ["shop-replies", "depot"]'
    pushed = _within(prod, "streaming", f'delivery = "push"\n  {by_traffic}\n  {replies}')
    pushed = pushed.replace('iap_members = ["group:sales@example.com"]', "public = true")
    closed = re.sub(r"(?ms)^gateway = \{.*?^\}\n", "", prod).replace('"traffic"', '"cpu"')
    closed = _within(closed, "ci", 'issuer = "gitlab"')
    paged, count = re.subn(r"(alerting *= \{) (.*?) \}", r"\1 \2, pagerduty = true }", prod)
    assert count == 1
    paged += 'budget = { billing_account = "012345-6789AB-CDEF01", amount = 2000 }\n'
    shared = re.sub(r"(?m)^network .*\n", "", prod).replace('  "registry",\n', "") + EXISTING
    files = {"pushed": pushed, "closed": closed, "paged": paged, "shared": shared}
    return synthesize_once(
        tmp_path_factory, "variants", {f"{name}.tfvars": text for name, text in files.items()}
    )


def _within(text: str, section: str, lines: str) -> str:
    """The text of an environment with more lines in a section."""
    head = f"\n{section} = {{\n"
    assert text.count(head) == 1, section
    return text.replace(head, f"{head}  {lines}\n")
