"""What `scripts/preflight` finds before anything is made, each with its remedy."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError

from infra import environment
from scripts.deployment import apply, deploy, destroy, diff, preflight
from tests.scripts.conftest import Tools

ROOM = {"CPUS": 24, "SSD_TOTAL_GB": 500, "STATIC_ADDRESSES": 8}


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of dev without examples."""
    text = (environment.DIRECTORY / "dev.tfvars").read_text()
    for example, value in {
        "100000000002": "483920174652",
        "example.com": "bakery.io",
        "your-organization": "bakery",
        "100000001": "73920",
    }.items():
        text = text.replace(example, value)
    file = tmp_path / "dev.tfvars"
    file.write_text(text)
    monkeypatch.setenv("PLATFORM_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return file


@pytest.fixture(autouse=True)
def credentials() -> Iterator[mock.Mock]:
    """Somebody is logged in."""
    with mock.patch.object(google.auth, "default", return_value=(mock.Mock(), None)) as default:
        yield default


def cloud(tools: Tools, **different: Any) -> None:
    """A gcloud whose project is ready, but for what differs."""
    room = different.get("room", ROOM)
    quotas = [{"metric": name, "limit": limit, "usage": 0} for name, limit in room.items()]
    answers: dict[str, Any] = {
        "auth list": different.get("accounts", [{"account": "ada@bakery.io"}]),
        "projects describe": {"projectNumber": different.get("number", "483920174652")},
        "billing projects describe": {
            "billingEnabled": different.get("billing", True),
            "billingAccountName": "b",
        },
        "compute regions describe": {"quotas": quotas},
    }
    tools.add("gcloud", {words: (0, json.dumps(answer)) for words, answer in answers.items()})


def test_a_project_that_is_ready(tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud(tools)
    assert preflight.main(["dev"]) == 0
    assert preflight.main(["dev", "quotas"]) == 0
    printed = capsys.readouterr().out
    assert "ada@bakery.io" in printed
    assert re.search(r"CPUS \d+ of 24, SSD_TOTAL_GB \d+ of 500", printed)


@pytest.mark.parametrize(
    ("different", "remedy"),
    [
        ({"accounts": []}, "gcloud has no account: run `gcloud auth login`"),
        ({"number": "7"}, "has the number 7, not 483920174652: correct project_number"),
        ({"billing": False}, "`gcloud billing projects link sales-forecast-dev --billing-account=ACCOUNT`"),
        (
            {"room": ROOM | {"SSD_TOTAL_GB": 250}},
            r"SSD_TOTAL_GB: have 250 free, need \d+: ask for more at https",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str], different: dict[str, Any], remedy: str
) -> None:
    cloud(tools, **different)
    assert preflight.main(["dev", "login", "project", "billing", "quotas"]) == 1
    assert re.search(remedy, capsys.readouterr().out)


def test_nobody_is_logged_in(
    tools: Tools, dev: Path, credentials: mock.Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud(tools)
    credentials.side_effect = DefaultCredentialsError("none found")
    assert preflight.main(["dev"]) == 1
    assert "run `gcloud auth application-default login` (none found)" in capsys.readouterr().out


def test_examples_of_the_committed_file_are_named(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    cloud(tools, number="100000000002")
    assert preflight.main(["dev"]) == 1
    assert re.search(
        "replace the examples of dev.tfvars: project_number, .*alerting.email.*ci.repository",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize("key", [None, ""])
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (preflight.main, []),
        (deploy.main, []),
        (destroy.main, []),
        (diff.main, []),
        (apply.main, ["diff.json"]),
    ],
)
def test_without_a_secret_nothing_starts(
    tools: Tools,
    dev: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Sequence[str]], int],
    arguments: list[str],
    key: str | None,
) -> None:
    """Terraform would wait for somebody who types it, or miss it when half of the stacks are applied."""
    cloud(tools)
    dev.write_text(dev.read_text().replace('bakery.io" }', 'bakery.io", pagerduty = true }'))
    monkeypatch.delenv("TF_VAR_pagerduty_service_key", raising=False)
    if key is not None:
        monkeypatch.setenv("TF_VAR_pagerduty_service_key", key)  # as CI does where the repository has none
    assert command(["dev", *arguments]) == 1
    printed = capsys.readouterr()
    assert "set TF_VAR_pagerduty_service_key" in printed.out + printed.err
    monkeypatch.setenv("TF_VAR_pagerduty_service_key", "key")
    assert preflight.main(["dev", "secrets"]) == 0
