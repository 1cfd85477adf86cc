"""A company has a network, a cluster, an image repository, a key: none of them is made or changed."""

import json
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from infra import environment
from scripts.deployment import preflight
from tests import google_apis
from tests.conftest import EXISTING
from tests.simulated.conftest import Stack
from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow

NETWORK = "projects/company-network/global/networks/shared"
SUBNET = "projects/company-network/regions/europe-west1/subnetworks/forecast"
KEY = "projects/company-keys/locations/europe-west1/keyRings/data/cryptoKeys/forecast"
CLUSTER = '  cluster = { name = "shared", dns_name = "gke-1.europe-west1.gke.goog" }'
COMPANY: dict[str, dict[str, Any]] = {
    "google_compute_network": {
        "shared": {"project": "company-network", "name": "shared", "auto_create_subnetworks": False}
    },
    "google_compute_subnetwork": {
        "forecast": {
            "project": "company-network",
            "name": "forecast",
            "region": "europe-west1",
            "network": "${google_compute_network.shared.id}",
            "ip_cidr_range": "10.200.64.0/20",
            "secondary_ip_range": [
                {"range_name": "forecast-pods", "ip_cidr_range": "10.201.0.0/16"},
                {"range_name": "forecast-services", "ip_cidr_range": "10.200.80.0/20"},
            ],
        }
    },
    "google_kms_key_ring": {"data": {"project": "company-keys", "name": "data", "location": "europe-west1"}},
    "google_kms_crypto_key": {"forecast": {"name": "forecast", "key_ring": "${google_kms_key_ring.data.id}"}},
    "google_artifact_registry_repository": {
        "forecast": {
            "project": "company-images",
            "location": "europe-west1",
            "repository_id": "forecast",
            "format": "DOCKER",
        }
    },
    "google_container_cluster": {
        "shared": {
            "project": "sales-forecast-dev",
            "location": "europe-west1",
            "name": "shared",
            "initial_node_count": 1,
            "deletion_protection": False,
            "network": NETWORK,
            "subnetwork": SUBNET,
            "workload_identity_config": {"workload_pool": "sales-forecast-dev.svc.id.goog"},
            "depends_on": ["google_compute_subnetwork.forecast"],
        }
    },
}


BROKEN = [
    {"type": "google_bigquery_table", "skip": 1, "error": "Error 503: backendError"},
    {"type": "google_service_account", "skip": 1, "error": "Error 429: quota exceeded"},
    {"type": "google_pubsub_subscription", "skip": 2, "error": "Error 503: backendError"},
    {"type": "kubernetes_deployment_v1", "skip": 1, "error": "the server is currently unable to handle it"},
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, synthesized, in a cloud where the company has applied what is its own."""
    for platform in simulated("dev", tmp_path_factory):
        company = Stack(platform.folder / "company", "company", os.environ | platform.variables)
        company.write(COMPANY)
        company.apply()
        existing = EXISTING.replace("existing = {", f"existing = {{\n{CLUSTER}")
        platform.edit(r"(?m)^network .*\n", existing)
        platform.edit(r"(?ms)^cluster = \{.*?^\}\n", "")
        platform.edit(r'  "registry",\n  "cluster",\n', "")
        platform.synthesize()
        yield platform


def made(platform: Platform) -> dict[str, int]:
    """How many resources of the company's types there are."""
    folder = platform.home / "resources"
    return {kind: len(list((folder / kind).glob("*.json"))) for kind in COMPANY}


def test_a_second_apply_repairs_a_failed_one(platform: Platform) -> None:
    assert set(platform.stacks) == {"foundation", "data", "messaging", "services", "observability"}
    platform.inject(*SLOW, *BROKEN)
    assert platform.apply_all() == ["foundation", "data", "messaging", "services"]
    assert platform.plan() == []


def test_the_company_keeps_what_is_its_own(platform: Platform) -> None:
    assert made(platform) == dict.fromkeys(COMPANY, 1)


def test_preflight_sees_what_the_company_applied(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = platform.variables | {"COLUMNS": "300", "PLATFORM_CLOUD": "google"}
    with mock.patch.dict(os.environ, variables), google_apis.asked():
        assert preflight.main(["dev", "quotas", "ranges"]) == 0
    assert "forecast has room for 256 nodes" in capsys.readouterr().out


def test_images_come_from_the_companys_repository(platform: Platform) -> None:
    target = environment.load("dev", directory=platform.environments)
    assert target.image_repository == "europe-west1-docker.pkg.dev/company-images/forecast"
    services = platform.synthesis.configuration("dev-services")
    [provider] = services["provider"]["kubernetes"]
    assert provider["host"] == "https://gke-1.europe-west1.gke.goog"
    images = {
        container["image"].partition("@")[0]
        for each in services["resource"]["kubernetes_deployment_v1"].values()
        for container in each["spec"]["template"]["spec"]["container"]
    }
    assert images == {f"{target.image_repository}/{name}" for name in ("prediction", "streaming")}


def test_the_company_keeps_it_after_the_destruction(platform: Platform) -> None:
    for stack in reversed(platform.stacks):
        done = platform.terraform(stack, "destroy", "-auto-approve", "-refresh=false")
        assert done.returncode == 0, f"{stack}: {done.stderr}"
    assert made(platform) == dict.fromkeys(COMPANY, 1)


def test_production_in_a_companys_network_with_its_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its cluster, images, backups and Composer: what dev does not have, or has not of its own."""
    network = EXISTING[: EXISTING.index("  repository")]
    for platform in simulated("prod", tmp_path_factory):
        company = Stack(platform.folder / "company", "company", os.environ | platform.variables)
        theirs = {
            kind: named for kind, named in COMPANY.items() if not kind.endswith(("_cluster", "_repository"))
        }
        company.write(theirs)
        company.apply()
        platform.edit(r"(?m)^network .*\n", f'{network}  key = "{KEY}"\n}}\n')
        platform.synthesize()
        platform.bootstrap()
        platform.apply("foundation", "registry", "cluster", "data", "orchestration")
        assert platform.terraform("cluster", "plan", "-detailed-exitcode").returncode == 0
        [cluster], [composer], *encrypted = (
            [json.loads(file.read_text()) for file in (platform.home / "resources" / kind).glob("*.json")]
            for kind in (
                "google_container_cluster",
                "google_composer_environment",
                "google_artifact_registry_repository",
                "google_gke_backup_backup_plan",
            )
        )
        assert (cluster["network"], cluster["subnetwork"]) == (NETWORK, SUBNET)
        assert SUBNET in json.dumps(composer)
        for each in (cluster, *(one for [one] in encrypted)):
            assert KEY in json.dumps(each)
        # Only its owner says who may use the key, and the platform makes none for data of its own.
        assert made(platform) == dict.fromkeys(theirs, 1) | {
            "google_artifact_registry_repository": 1,
            "google_container_cluster": 1,
            "google_kms_key_ring": 2,
            "google_kms_crypto_key": 2,
        }
        members = (platform.home / "resources" / "google_kms_crypto_key_iam_member").glob("*.json")
        assert [each for each in members if KEY in each.read_text()] == []
