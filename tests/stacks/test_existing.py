"""An environment in a Shared VPC, with a repository and a key of its company."""

import json

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
