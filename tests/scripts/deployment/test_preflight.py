"""What `scripts/preflight` finds before anything is made, each with its remedy."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

from infra import environment
from scripts.deployment import apply, deploy, destroy, diff, first_model, preflight
from tests.conftest import EXISTING
from tests.scripts.conftest import Tools

ROOM = {"CPUS": 24, "N2_CPUS": 24, "SSD_TOTAL_GB": 500, "STATIC_ADDRESSES": 8, "IN_USE_ADDRESSES": 8}
GATEWAY = 'gateway = { hostname = "forecast.bakery.io", public = true }\n'


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


def subnet(name: str, block: str, network: str = "default", **more: Any) -> dict[str, Any]:
    """As Google lists it."""
    places = {"network": f"projects/p/global/networks/{network}", "region": "projects/p/regions/europe-west1"}
    return {"name": name, "ipCidrRange": block, **places, **more}


def cloud(tools: Tools, **different: Any) -> None:
    """A gcloud whose project is ready, but for what differs."""
    room = different.get("room", ROOM)
    # The environment is there already: what it uses must not stop its next deployment.
    quotas = [{"metric": name, "limit": limit, "usage": limit} for name, limit in room.items()]
    answers: dict[str, Any] = {
        "auth list": different.get("accounts", [{"account": "ada@bakery.io"}]),
        "projects describe": {"projectNumber": different.get("number", "483920174652")},
        "billing projects describe": {
            "billingEnabled": different.get("billing", True),
            "billingAccountName": "b",
        },
        "compute regions describe": {"quotas": quotas},
        "compute networks subnets list": different.get("subnets", [subnet("default", "10.132.0.0/20")]),
    }
    tools.add("gcloud", {words: (0, json.dumps(answer)) for words, answer in answers.items()})


def test_a_project_that_is_ready(tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud(tools)
    assert preflight.main(["dev"]) == 0
    dev.write_text(dev.read_text() + GATEWAY)
    assert preflight.main(["dev", "quotas", "ranges"]) == 0
    printed = capsys.readouterr().out
    assert "ada@bakery.io" in printed
    assert re.search(r"CPUS \d+ of 24, SSD_TOTAL_GB \d+ of 500, STATIC_ADDRESSES 1 of 8, IN_USE_ADD", printed)
    assert "10.16.0.0/16 is free" in printed


@pytest.mark.parametrize(
    ("different", "remedy"),
    [
        ({"accounts": []}, "gcloud has no account: run `gcloud auth login`"),
        ({"number": "7"}, "has the number 7, not 483920174652: correct project_number"),
        ({"billing": False}, "`gcloud billing projects link sales-forecast-dev --billing-account=ACCOUNT`"),
        (
            {"room": ROOM | {"SSD_TOTAL_GB": 250}},
            r"SSD_TOTAL_GB: have 250, need \d+: ask for more at https",
        ),
        (
            {"room": ROOM | {"IN_USE_ADDRESSES": 0, "CPUS": 3}},
            r"CPUS: have 3, need \d+; IN_USE_ADDRESSES: have 0, need 1: ask for more at https",
        ),
        (
            {"subnets": [subnet("default", "10.132.0.0/20"), subnet("office", "10.16.128.0/20", "company")]},
            "need 10.16.0.0/16, have 10.16.128.0/20 of the subnet office: .* take another block in dev",
        ),
        (
            {
                "subnets": [
                    subnet("v6", "", secondaryIpRanges=[{"rangeName": "pods", "ipCidrRange": "10.0.0.0/8"}])
                ]
            },
            "have 10.0.0.0/8 of the subnet v6",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str], different: dict[str, Any], remedy: str
) -> None:
    cloud(tools, **different)
    dev.write_text(dev.read_text() + GATEWAY)
    assert preflight.main(["dev", "login", "project", "billing", "quotas", "ranges"]) == 1
    assert re.search(remedy, capsys.readouterr().out)


def test_a_deployed_network_is_its_own(tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud(tools, subnets=[subnet("sales-forecast-nodes", "10.16.0.0/20", "sales-forecast")])
    assert preflight.main(["dev", "ranges"]) == 0
    assert "the network exists" in capsys.readouterr().out


PROXIES = subnet("proxies", "10.200.0.0/26", "shared", purpose="REGIONAL_MANAGED_PROXY")


def forecast(nodes: str = "10.200.64.0/20", pods: str = "10.201.0.0/16", **named: str) -> dict[str, Any]:
    """The company's subnet."""
    blocks = named or {"forecast-pods": pods, "forecast-services": "10.200.80.0/20"}
    secondary = [{"rangeName": name, "ipCidrRange": block} for name, block in blocks.items()]
    return subnet("forecast", nodes, "shared", secondaryIpRanges=secondary)


@pytest.mark.parametrize(
    ("subnets", "printed"),
    [
        ([forecast(), PROXIES], r"✓ .*forecast has room for 256 nodes, need \d"),
        ([forecast(), PROXIES, subnet("lab", "100.64.128.0/24")], "✓ .*forecast has room"),  # another network
        ([PROXIES], "need the subnet forecast with .*, have proxies: ask its owners, or correct"),
        ([forecast(pods="10.201.0.0/16", other="10.202.0.0/24"), PROXIES], "forecast-services, have other: "),
        ([forecast(pods="10.201.0.0/22"), PROXIES], r"need room for \d nodes, have 4: ask for larger"),
        ([forecast()], "need the proxy-only subnet 10.200.0.0/26, have none: correct proxy_only"),
        (
            [forecast(), PROXIES, subnet("lab", "100.64.0.0/16", "shared")],
            "need 100.64.128.0/20 for Composer, have 100.64.0.0/16 of the subnet lab: set composer_internal",
        ),
    ],
)
def test_a_network_that_exists_has_what_is_needed(
    tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str], subnets: list[dict[str, Any]], printed: str
) -> None:
    cloud(tools, subnets=subnets)
    text = dev.read_text().replace('"messaging",', '"messaging", "orchestration",') + GATEWAY + EXISTING
    text = re.sub(r"(?m)^network .*\n", "", text).replace('  "registry",\n', "")
    dev.write_text(text)
    assert preflight.main(["dev", "ranges"]) == ("✓" not in printed)
    assert re.search(printed, capsys.readouterr().out)
    asked = tools.calls()[-1]
    assert "--project=company-network" in asked


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


COMMANDS: list[tuple[Callable[[Sequence[str]], int], list[str]]] = [
    (deploy.main, []),
    (destroy.main, []),
    (diff.main, []),
    (apply.main, ["diff.json"]),
    (first_model.main, []),
]


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
@pytest.mark.parametrize(
    "error",
    [DefaultCredentialsError("none found"), RefreshError("none found\nat all")],
    ids=["absent", "expired"],
)
def test_without_a_login_one_line_says_so(
    dev: Path,
    credentials: mock.Mock,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Sequence[str]], int],
    arguments: list[str],
    error: GoogleAuthError,
) -> None:
    """Before anything is synthesized: each stack would have an error of its own."""
    dev.write_text(re.sub("deletion_protection *= true", "deletion_protection = false", dev.read_text()))
    if isinstance(error, RefreshError):
        credentials.return_value[0].refresh.side_effect = error
    else:
        credentials.side_effect = error
    assert command(["dev", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    remedy = "run `gcloud auth application-default login` (none found)\n"
    assert re.fullmatch(rf"\w+: not logged in to Google Cloud: {re.escape(remedy)}", printed.err)


@pytest.mark.parametrize("key", [None, ""])
@pytest.mark.parametrize(
    ("command", "arguments"),
    [(preflight.main, []), *COMMANDS],
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
