"""An environment in a Shared VPC, with a repository and a key of its company."""

import json
import re
from pathlib import Path

from infra import environment
from infra.environment.files import DIRECTORY
from tests.conftest import REPOSITORY
from tests.docs.markdown import blocks
from tests.stacks.synthesized import Synthesis

SUBNET = "projects/company-network/regions/europe-west1/subnetworks/forecast"
KEY = "projects/company-keys/locations/europe-west1/keyRings/data/cryptoKeys/forecast"


def test_what_exists_is_used(variants: Synthesis) -> None:
    variants.stack("shared-cluster").one(
        "google_container_cluster",
        network="projects/company-network/global/networks/shared",
        subnetwork=SUBNET,
        ip_allocation_policy={
            "cluster_secondary_range_name": "forecast-pods",
            "services_secondary_range_name": "forecast-services",
        },
        database_encryption={"state": "ENCRYPTED", "key_name": KEY},
    )
    composer = variants.stack("shared-orchestration").one("google_composer_environment")["config"]
    assert composer["node_config"]["subnetwork"] == SUBNET
    url = f"https://www.googleapis.com/compute/v1/{SUBNET}"
    assert composer["software_config"]["env_variables"]["DATAFLOW_SUBNETWORK"] == url
    policy = variants.stack("shared-services").one(
        "kubernetes_network_policy_v1", metadata={"name": "prediction-callers"}
    )
    assert "10.200.0.0/26" in json.dumps(policy["spec"]["ingress"])


def test_nothing_of_the_company_is_made_or_changed(variants: Synthesis) -> None:
    resources = [
        each for stack in variants.stacks if stack.id.startswith("shared-") for each in stack.resources
    ]
    made = {kind for kind, _, _ in resources}
    assert not {kind for kind in made if kind.startswith("google_artifact_registry_")}
    rings = {each["name"] for kind, _, each in resources if kind == "google_kms_key_ring"}
    assert rings == {"sales-forecast-images"}, "the key that signs images is the environment's own"
    assert not {kind for kind, _, each in resources if kind.startswith("google_kms_") and KEY in str(each)}
    assert {kind for kind in made if kind.startswith("google_compute_")} == {
        "google_compute_address",
        "google_compute_region_security_policy",
        "google_compute_region_ssl_policy",
    }


HOW_TO = REPOSITORY / "docs" / "how-to.md"
USER = "roles/compute.networkUser"
GKE = "service-N@container-engine-robot.iam.gserviceaccount.com"
COMPOSER = "service-N@cloudcomposer-accounts.iam.gserviceaccount.com"
OF_THE_NETWORK = {
    # https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-shared-vpc
    ("subnet", USER, GKE),
    ("subnet", USER, "N@cloudservices.gserviceaccount.com"),
    ("host project", "roles/container.hostServiceAgentUser", GKE),
    ("host project", "roles/compute.securityAdmin", GKE),
    # https://cloud.google.com/composer/docs/composer-3/configure-shared-vpc
    ("host project", "roles/composer.sharedVpcAgent", COMPOSER),
    ("host project", USER, COMPOSER),
    # https://cloud.google.com/dataflow/docs/guides/specifying-networks#shared
    ("subnet", USER, "service-N@dataflow-service-producer-prod.iam.gserviceaccount.com"),
    ("subnet", USER, "sales-forecast-dataflow@P.iam.gserviceaccount.com"),
}


def test_owners_are_asked_for_what_the_stacks_grant_on_their_own(synthesis: Synthesis) -> None:
    table = HOW_TO.read_text().partition("| on | role | to | for |\n|---|---|---|---|\n")[2]
    asked: set[tuple[str, str, str]] = set()
    for line in table.partition("\n\n")[0].splitlines():
        on, roles, members, _ = (cell.strip() for cell in line.strip("|").split("|"))
        for role in re.findall(r"`(roles/\S+)`", roles):
            asked |= {(on.removeprefix("the "), role, each) for each in re.findall(r"`(\S+@\S+)`", members)}
    target = environment.load("prod")
    own = {
        "key": (
            "google_kms_crypto_key_iam_member",
            "crypto_key_id",
            "sales-forecast/cryptoKeys/sales-forecast",
        ),
        "repository": ("google_artifact_registry_repository_iam_member", "repository", "sales-forecast"),
    }
    granted = {
        (on, each["role"], each["member"].removeprefix("serviceAccount:"))
        for on, (kind, argument, name) in own.items()
        for stack in target.stacks
        for each in synthesis.stack(f"prod-{stack}").all(kind).values()
        if each[argument].endswith(name) and "sales-forecast-ci-" not in each["member"]
    }
    granted = {
        (on, role, member.replace(str(target.project_number), "N").replace(target.project_id, "P"))
        for on, role, member in granted
    }
    assert {on for on, _, _ in granted} == {*own}
    assert asked == granted | OF_THE_NETWORK


def test_the_how_tos_example_is_an_environment(tmp_path: Path) -> None:
    [section] = [block for block in blocks(HOW_TO, "hcl") if block.startswith("existing = ")]
    text = (DIRECTORY / "dev.tfvars").read_text()
    text = re.sub(r"(?ms)^network .*?\n|^cluster = \{.*?^\}\n|  \"(registry|cluster)\",\n", "", text)
    (tmp_path / "company.tfvars").write_text(section + text)
    existing = environment.load("company", directory=tmp_path).existing
    assert all(getattr(existing, key) for key in ("network", "cluster", "repository", "key"))
