"""Images: who may read and write them, and which stay."""

from tests.stacks.synthesized import Synthesis

KEY = "projects/sales-forecast-prod/locations/europe-west1/keyRings/sales-forecast/cryptoKeys/sales-forecast"


def test_image_repository(synthesis: Synthesis) -> None:
    synthesis.stack("prod-registry").one(
        "google_artifact_registry_repository",
        repository_id="sales-forecast",
        location="europe-west1",
        format="DOCKER",
        docker_config={"immutable_tags": True},
        vulnerability_scanning_config={"enablement_config": "INHERITED"},
        cleanup_policy_dry_run=False,
        cleanup_policies=[
            {"action": "KEEP", "most_recent_versions": {"keep_count": 20}},
            {"action": "DELETE", "condition": {"tag_state": "UNTAGGED", "older_than": "1209600s"}},
        ],
    )


def test_development_keeps_less_and_scans_nothing(synthesis: Synthesis) -> None:
    repository = synthesis.stack("dev-registry").one(
        "google_artifact_registry_repository",
        vulnerability_scanning_config={"enablement_config": "DISABLED"},
        cleanup_policies=[{"most_recent_versions": {"keep_count": 5}}, {"action": "DELETE"}],
    )
    assert "kms_key_name" not in repository


def test_production_encrypts_with_its_own_key(synthesis: Synthesis) -> None:
    registry = synthesis.stack("prod-registry")
    agent = "serviceAccount:service-100000000004@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    may_use = registry.address("google_kms_crypto_key_iam_member", crypto_key_id=KEY, member=agent)
    repository = registry.one("google_artifact_registry_repository", kms_key_name=KEY)
    assert registry.awaited(repository) == {may_use}


def test_only_what_runs_images_pulls(synthesis: Synthesis) -> None:
    granted = {
        (stack.id, each["role"], each["member"])
        for stack in synthesis.stacks
        if stack.id.startswith("prod-")
        for each in stack.all("google_artifact_registry_repository_iam_member").values()
    }
    account = "serviceAccount:sales-forecast-{}@sales-forecast-prod.iam.gserviceaccount.com"
    assert granted == {
        ("prod-cluster", "roles/artifactregistry.reader", account.format("nodes")),
        ("prod-orchestration", "roles/artifactregistry.reader", account.format("dataflow")),
    }
