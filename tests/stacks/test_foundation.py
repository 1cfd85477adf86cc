"""APIs, the network, the key, and who CI is."""

import json
from ipaddress import ip_network
from itertools import combinations

import pytest

from infra.environment import names
from tests.stacks.synthesized import Synthesis


def test_apis_stay_on(synthesis: Synthesis) -> None:
    for each in synthesis.stack("prod-foundation").all("google_project_service").values():
        assert each["disable_on_destroy"] is False


def test_only_the_apis_of_the_stacks_there_are(synthesis: Synthesis) -> None:
    dev = synthesis.stack("dev-foundation")
    for api in ("composer", "cloudkms", "containerscanning", "binaryauthorization", "gkebackup"):
        synthesis.stack("prod-foundation").one("google_project_service", service=f"{api}.googleapis.com")
        dev.none("google_project_service", service=f"{api}.googleapis.com")


def test_network(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    apis = [
        foundation.address("google_project_service", service=f"{api}.googleapis.com")
        for api in ("compute", "dns")
    ]
    foundation.one(
        "google_compute_network", name="sales-forecast", auto_create_subnetworks=False, depends_on=apis
    )
    foundation.one(
        "google_compute_subnetwork",
        name="sales-forecast-nodes",
        private_ip_google_access=True,
        log_config={"metadata": "INCLUDE_ALL_METADATA"},
        secondary_ip_range=[{"range_name": "pods"}, {"range_name": "services"}],
    )
    foundation.one("google_compute_subnetwork", purpose="REGIONAL_MANAGED_PROXY", role="ACTIVE")
    foundation.one(
        "google_compute_router_nat",
        nat_ip_allocate_option="AUTO_ONLY",
        enable_dynamic_port_allocation=True,
        log_config={"enable": True, "filter": "ERRORS_ONLY"},
    )
    # The VPC lets nothing in, and the rules for what must come in are GKE's.
    foundation.none("google_compute_firewall")


def test_google_apis_have_a_few_addresses(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    zone = foundation.one("google_dns_managed_zone", dns_name="googleapis.com.", visibility="private")
    network = foundation.address("google_compute_network", name="sales-forecast")
    assert zone["private_visibility_config"]["networks"] == [{"network_url": f"${{{network}.id}}"}]
    addresses = foundation.one("google_dns_record_set", type="A", name="private.googleapis.com.")["rrdatas"]
    assert addresses == [str(each) for each in ip_network("199.36.153.8/30")]
    foundation.one(
        "google_dns_record_set",
        type="CNAME",
        name="*.googleapis.com.",
        rrdatas=["private.googleapis.com."],
    )


@pytest.mark.parametrize("environment", names())
def test_ranges_are_apart(synthesis: Synthesis, environment: str) -> None:
    subnets = synthesis.stack(f"{environment}-foundation").all("google_compute_subnetwork").values()
    ranges = [ip_network(subnet["ip_cidr_range"]) for subnet in subnets]
    ranges += [
        ip_network(each["ip_cidr_range"])
        for subnet in subnets
        for each in subnet.get("secondary_ip_range", [])
    ]
    assert len(ranges) == 4
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))


def test_production_has_a_key_that_rotates_and_stays(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    for ring in ("sales-forecast", "sales-forecast-images"):
        foundation.one(
            "google_kms_key_ring", name=ring, location="europe-west1", lifecycle={"prevent_destroy": True}
        )
    foundation.one(
        "google_kms_crypto_key",
        key_ring="${google_kms_key_ring.key_ring_33D8D7D0.id}",
        rotation_period=f"{90 * 24 * 3600}s",
        lifecycle={"prevent_destroy": True},
    )
    synthesis.stack("dev-foundation").none("google_kms_key_ring")


def test_ci_administers_the_key_but_cannot_use_it(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    for role, access in (("roles/cloudkms.admin", "apply"), ("roles/cloudkms.viewer", "plan")):
        member = f"serviceAccount:sales-forecast-ci-{access}@sales-forecast-prod.iam.gserviceaccount.com"
        ring = "projects/sales-forecast-prod/locations/europe-west1/keyRings/sales-forecast"
        foundation.one("google_kms_key_ring_iam_member", key_ring_id=ring, role=role, member=member)
    foundation.none("google_kms_crypto_key_iam_member", role="roles/cloudkms.cryptoKeyEncrypterDecrypter")


def test_ci_signs_images_but_cannot_change_whose_signatures_count(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    key = foundation.one("google_kms_crypto_key", purpose="ASYMMETRIC_SIGN")
    assert key["version_template"] == {"algorithm": "EC_SIGN_P256_SHA256"}
    foundation.one("google_binary_authorization_attestor", name="sales-forecast")
    member = "serviceAccount:sales-forecast-ci-apply@sales-forecast-prod.iam.gserviceaccount.com"
    ring = "projects/sales-forecast-prod/locations/europe-west1/keyRings/sales-forecast-images"
    foundation.one(
        "google_kms_crypto_key_iam_member",
        crypto_key_id=f"{ring}/cryptoKeys/signing",
        role="roles/cloudkms.signerVerifier",
        member=member,
    )
    of_ring = foundation.one("google_kms_key_ring_iam_member", key_ring_id=ring, member=member)
    assert of_ring["role"] == "roles/cloudkms.viewer"
    for stack in ("prod-registry", "prod-cluster"):
        synthesis.stack(stack).none("google_binary_authorization_attestor")
    synthesis.stack("dev-foundation").none("google_binary_authorization_attestor")


def test_who_reads_data_is_logged(synthesis: Synthesis) -> None:
    for api in ("bigquery", "secretmanager", "storage"):
        synthesis.stack("prod-foundation").one(
            "google_project_iam_audit_config",
            project="sales-forecast-prod",
            service=f"{api}.googleapis.com",
            audit_log_config=[{"log_type": "DATA_READ"}, {"log_type": "DATA_WRITE"}],
        )


def test_audit_logs_stay_as_long_as_the_environment_says(synthesis: Synthesis) -> None:
    for name, days in (("prod", 400), ("dev", 30)):
        foundation = synthesis.stack(f"{name}-foundation")
        bucket = foundation.one("google_logging_project_bucket_config", location="europe-west1")
        assert bucket["retention_days"] == days
        sink = foundation.one("google_logging_project_sink")
        assert sink["destination"].endswith(f"sales-forecast-{name}/locations/europe-west1/buckets/audit")
        assert "data_access" in sink["filter"]
        assert foundation.address("google_logging_project_bucket_config") in sink["depends_on"]
        # They are not in the bucket _Default as well, where they would be billed again.
        exclusion = foundation.one("google_logging_project_exclusion")
        assert exclusion["filter"] in sink["filter"]
        assert "data_access" in exclusion["filter"]
        assert foundation.address("google_logging_project_sink") in exclusion["depends_on"]


def test_default_accounts_are_no_editors_and_nothing_runs_as_them(synthesis: Synthesis) -> None:
    synthesis.stack("prod-foundation").one(
        "google_project_default_service_accounts", action="DEPRIVILEGE", restore_policy="NONE"
    )
    for stack in synthesis.stacks:
        text = json.dumps(stack.content)
        assert "compute@developer" not in text
        assert "@appspot" not in text
        for cluster in stack.all("google_container_cluster").values():
            assert "sales-forecast-nodes@" in cluster["node_config"]["service_account"]
        for pool in stack.all("google_container_node_pool").values():
            assert "sales-forecast-nodes@" in pool["node_config"]["service_account"]
        for composer in stack.all("google_composer_environment").values():
            assert "sales-forecast-airflow@" in composer["config"]["node_config"]["service_account"]
