"""What `scripts/preflight` finds before anything is made, each with its remedy."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import google.auth
import pytest
from google.api_core.exceptions import Forbidden
from google.api_core.retry import Retry
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.cloud.compute_v1.services.regions import RegionsClient

from infra.environment.files import DIRECTORY
from infra.simulator import inventory
from scripts.deployment import apply, capacity, deploy, destroy, diff, first_model, preflight, step, verify
from tests import google_apis
from tests.conftest import EXISTING
from tests.scripts.conftest import Tools

GATEWAY = 'gateway = { hostname = "forecast.bakery.io", public = true }\n'
DEV = "sales-forecast-dev"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of dev without examples."""
    text = (DIRECTORY / "dev.tfvars").read_text()
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


@pytest.fixture
def empty(
    credentials: mock.Mock, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Dev with a Gateway, in a cloud that has nothing yet."""
    monkeypatch.setenv("SIMULATOR_HOME", str(tmp_path / "cloud"))
    dev.write_text(dev.read_text() + GATEWAY)
    with google_apis.asked():
        yield dev


def limit(metric: str, value: int) -> None:
    """Google has granted another quota."""
    quota = f"{metric.replace('_', '-')}-per-project-region"
    inventory.record(
        "google_cloud_quotas_quota_preference",
        {
            "id": f"projects/{DEV}/locations/global/quotaPreferences/{quota}",
            "parent": f"projects/{DEV}",
            "quota_id": quota,
            "dimensions": {"region": "europe-west1"},
            "quota_config": [{"preferred_value": str(value)}],
        },
    )


def network(name: str, *peers: str, project: str = DEV) -> None:
    path = f"projects/{project}/global/networks/"
    inventory.record("google_compute_network", {"id": path + name, "project": project, "name": name})
    for peer in peers:
        peering = {"id": f"{path}{name}/{peer}", "name": f"to-{peer}", "network": path + name}
        # Terraform takes links and names.
        link = f"https://www.googleapis.com/compute/v1/{path}{peer}"
        inventory.record("google_compute_network_peering", peering | {"peer_network": link})


def subnet(
    name: str,
    block: str | None,
    of: str = "default",
    project: str = DEV,
    purpose: str | None = None,
    region: str = "europe-west1",
    **secondary: str,
) -> None:
    """A subnet with its secondary ranges."""
    named = [{"range_name": each, "ip_cidr_range": value} for each, value in secondary.items()]
    inventory.record(
        "google_compute_subnetwork",
        {
            "id": f"projects/{project}/regions/{region}/subnetworks/{name}",
            "project": project,
            "region": region,
            "name": name,
            "network": f"projects/{project}/global/networks/{of}",
            "ip_cidr_range": block,
            "purpose": purpose,
            "secondary_ip_range": named,
        },
    )


def cluster(name: str, block: str, *, alias: bool) -> None:
    """A cluster with two nodes of four CPUs in each of three zones."""
    cluster = f"projects/{DEV}/locations/europe-west1/clusters/{name}"
    place = {"project": DEV, "location": "europe-west1", "name": name}
    mode = "VPC_NATIVE" if alias else "ROUTES"
    inventory.record(
        "google_container_cluster",
        {
            "id": cluster,
            "network": "default",
            "cluster_ipv4_cidr": block,
            "networking_mode": mode,
            **place,
        },
    )
    inventory.record(
        "google_container_node_pool",
        {
            "id": f"{cluster}/nodePools/pool",
            "initial_node_count": 2,
            "node_count": None,
            "node_locations": ["a", "b", "c"],
            "node_config": [{"machine_type": "e2-standard-4", "disk_size_gb": 50}],
            **place,
        },
    )


def cloud(tools: Tools, **different: Any) -> None:
    """A gcloud whose project is ready, but for what differs."""
    answers: dict[str, Any] = {
        "auth list": different.get("accounts", [{"account": "ada@bakery.io"}]),
        "projects describe": {"projectNumber": different.get("number", "483920174652")},
        "billing projects describe": {
            "billingEnabled": different.get("billing", True),
            "billingAccountName": "b",
        },
    }
    tools.add("gcloud", {words: (0, json.dumps(answer)) for words, answer in answers.items()})


def test_a_project_that_is_ready(tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud(tools)
    assert preflight.main(["dev"]) == 0
    assert "ada@bakery.io" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("different", "remedy"),
    [
        ({"accounts": []}, "gcloud has no account: run `gcloud auth login`"),
        ({"number": "7"}, "has the number 7, not 483920174652: correct project_number"),
        ({"billing": False}, "`gcloud billing projects link sales-forecast-dev --billing-account=ACCOUNT`"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    tools: Tools, dev: Path, capsys: pytest.CaptureFixture[str], different: dict[str, Any], remedy: str
) -> None:
    cloud(tools, **different)
    assert preflight.main(["dev", "login", "project", "billing"]) == 1
    assert re.search(remedy, capsys.readouterr().out)


def check(capsys: pytest.CaptureFixture[str], *checks: str) -> str:
    """What is printed of checks, in one line."""
    status = preflight.main(["dev", *checks])
    printed = capsys.readouterr().out
    assert status == ("✗" in printed)
    return printed


def test_an_empty_project_has_room(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = check(capsys, "quotas", "ranges")
    assert re.search(r"CPUS \d+ of 24, SSD_TOTAL_GB \d+ of 500, STATIC_ADDRESSES 1 of 8, IN_USE_ADD", printed)
    assert "10.16.0.0/16 is free" in printed


@pytest.mark.parametrize(
    ("limits", "remedy"),
    [
        ({"SSD_TOTAL_GB": 250}, r"SSD_TOTAL_GB: have 250, need \d+: ask for more at https"),
        (
            {"IN_USE_ADDRESSES": 0, "CPUS": 3},
            r"CPUS: have 3, need \d+; IN_USE_ADDRESSES: have 0, need 1: ask for more at https",
        ),
    ],
)
def test_a_quota_is_too_small(
    empty: Path, capsys: pytest.CaptureFixture[str], limits: dict[str, int], remedy: str
) -> None:
    for metric, value in limits.items():
        limit(metric, value)
    assert re.search(remedy, check(capsys, "quotas"))


def test_what_others_use_is_not_there_for_the_environment(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster("lab", "10.140.0.0/14", alias=True)
    assert re.search(r"CPUS: have 0, need \d+; SSD_TOTAL_GB: have 200, need", check(capsys, "quotas"))


def test_what_the_environment_uses_does_not_stop_its_next_deployment(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster("sales-forecast", "10.16.128.0/17", alias=True)
    assert re.search(r"CPUS \d+ of 24, SSD_TOTAL_GB \d+ of 500", check(capsys, "quotas"))


@pytest.mark.parametrize(
    ("deployed", "printed"),
    [
        (lambda: subnet("default", "10.132.0.0/20"), "✓ .*10.16.0.0/16 is free"),
        (
            lambda: subnet("office", "10.16.128.0/20", "company"),
            "need 10.16.0.0/16, have 10.16.128.0/20 of the subnet office: .* take another block in dev",
        ),
        (lambda: subnet("v6", None, pods="10.0.0.0/8"), "have 10.0.0.0/8 of the subnet v6"),
        (lambda: subnet("sales-forecast-nodes", "10.16.0.0/20", "sales-forecast"), "the network exists"),
        (lambda: cluster("old", "10.16.0.0/14", alias=False), "have 10.16.0.0/14 of the cluster old"),
        (lambda: cluster("lab", "10.16.0.0/14", alias=True), "✓ .*10.16.0.0/16 is free"),
    ],
)
def test_ranges_of_others(
    empty: Path, capsys: pytest.CaptureFixture[str], deployed: Callable[[], None], printed: str
) -> None:
    deployed()
    assert re.search(printed, check(capsys, "ranges"))


@pytest.mark.parametrize(
    ("connected", "printed"),
    [(True, "have 10.16.7.0/24 of the peering to-office of default"), (False, "is free")],
)
def test_ranges_of_networks_that_are_connected(
    empty: Path, capsys: pytest.CaptureFixture[str], connected: bool, printed: str
) -> None:
    """They belong to other projects, which the caller may not see."""
    path = "https://www.googleapis.com/compute/v1/projects/{}/global/networks/{}"
    ends = {"default": DEV, "office": "company"}
    for (name, project), (peer, other) in zip(ends.items(), reversed(ends.items()), strict=True):
        network(name, project=project)
        if connected or name == "default":
            inventory.record(
                "google_compute_network_peering",
                {
                    "id": f"{name}/{peer}",
                    "name": f"to-{peer}",
                    "network": path.format(project, name),
                    "peer_network": path.format(other, peer),
                },
            )
    subnet("upstairs", "10.16.7.0/24", "office", project="company", region="us-east1")
    assert printed in check(capsys, "ranges")


def test_who_may_not_look_is_told_what_it_takes(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = Forbidden("Required 'compute.regions.get' permission")
    with mock.patch.object(RegionsClient, "get", side_effect=refusal):
        printed = check(capsys, "quotas")
    assert re.search(
        r"permission: you need roles/compute.networkViewer on sales-forecast-dev, roles/", printed
    )


def test_an_api_that_is_off_is_told(
    empty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "_RETRY", Retry(predicate=capacity.is_disabled, initial=0.01, timeout=0.1))
    service = {"id": f"{DEV}/pubsub.googleapis.com", "project": DEV, "service": "pubsub.googleapis.com"}
    inventory.record("google_project_service", service)
    printed = check(capsys, "quotas", "ranges")
    assert printed.count("run `scripts/bootstrap.sh dev`") == 2
    assert printed.count("compute.googleapis.com has not been used in project sales-forecast-dev") == 2
    service = {"id": f"{DEV}/compute.googleapis.com", "project": DEV, "service": "compute.googleapis.com"}
    inventory.record("google_project_service", service)
    assert "✗" not in check(capsys, "quotas", "ranges")  # without the API of clusters, there is none


HOST = "company-network"


def proxies() -> None:
    subnet("proxies", "10.200.0.0/26", "shared", HOST, "REGIONAL_MANAGED_PROXY")


def forecast(pods: str = "10.201.0.0/16", services: str = "forecast-services") -> None:
    """The company's subnet."""
    blocks = {"forecast-pods": pods, services: "10.200.80.0/20"}
    subnet("forecast", "10.200.64.0/20", "shared", HOST, **blocks)


@pytest.mark.parametrize(
    ("deployed", "printed"),
    [
        ([forecast, proxies], r"✓ .*forecast has room for 256 nodes, need \d"),
        (
            [forecast, proxies, lambda: subnet("lab", "100.64.128.0/24", project=HOST)],
            "✓ .*forecast has room",
        ),
        ([proxies], "need the subnet forecast with .*, have proxies: ask its owners, or correct"),
        (
            [lambda: forecast(services="other"), proxies],
            "forecast-services, have forecast-pods, other: ",
        ),
        ([lambda: forecast("10.201.0.0/22"), proxies], r"need room for \d nodes, have 4: ask for larger"),
        ([forecast], "need the proxy-only subnet 10.200.0.0/26, have none: correct proxy_only"),
        (
            [forecast, proxies, lambda: subnet("lab", "100.64.0.0/16", "shared", HOST)],
            "need 100.64.128.0/20 for Composer, have 100.64.0.0/16 of the subnet lab: set composer_internal",
        ),
        (
            [
                forecast,
                proxies,
                lambda: network("shared", "hub", project=HOST),
                lambda: network("hub", "shared", project=HOST),
                lambda: subnet("lab", "100.64.0.0/16", "hub", HOST),
            ],
            "need 100.64.128.0/20 for Composer, have 100.64.0.0/16 of the peering to-hub of shared: set",
        ),
    ],
)
def test_a_network_that_exists_has_what_is_needed(
    empty: Path,
    capsys: pytest.CaptureFixture[str],
    deployed: list[Callable[[], None]],
    printed: str,
) -> None:
    for each in deployed:
        each()
    text = empty.read_text().replace('"messaging",', '"messaging", "orchestration",') + EXISTING
    text = re.sub(r"(?m)^network .*\n", "", text).replace('  "registry",\n', "")
    empty.write_text(text)
    assert re.search(printed, check(capsys, "ranges"))


def test_nobody_is_logged_in(
    tools: Tools, dev: Path, credentials: mock.Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud(tools)
    credentials.side_effect = DefaultCredentialsError("none found")
    assert preflight.main(["dev"]) == 1
    assert "run `gcloud auth application-default login` (none found)" in capsys.readouterr().out


def test_google_is_asked_as_the_caller_and_for_the_environment_s_project(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person's login has no project that pays; the host project of a network is not asked to."""
    monkeypatch.setattr(capacity, "_RETRY", None)
    service = {"id": DEV, "project": DEV, "service": "container.googleapis.com"}
    inventory.record("google_project_service", service)
    text = re.sub(r"(?m)^network .*\n", "", empty.read_text() + EXISTING).replace('  "registry",\n', "")
    empty.write_text(text)
    printed = check(capsys, "ranges")
    assert "compute.googleapis.com has not been used in project sales-forecast-dev" in printed


def test_a_simulated_environment_needs_none(
    dev: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLATFORM_CLOUD", "simulated")
    for checks in ([], ["quotas"]):
        assert preflight.main(["dev", *checks]) == 1
        assert "dev is simulated and needs no preflight: run `make up`" in capsys.readouterr().err
    assert preflight.main(["dev", "examples", "secrets"]) == 0


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
LOGGING_IN: list[tuple[Callable[[Sequence[str]], int], list[str]]] = [
    *COMMANDS,
    (preflight.main, ["quotas", "ranges"]),
    (step.main, ["train"]),
    (verify.main, []),
]


@pytest.mark.parametrize(("command", "arguments"), LOGGING_IN)
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
