"""Refusals that depend on other resources, and injected faults."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import canonical
from tests.simulated.conftest import Stack

AGENT = "service-1@gcp-sa-pubsub.iam.gserviceaccount.com"
RUNNER = "runner@p-1.iam.gserviceaccount.com"
POOL = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p-1.svc.id.goog"
NETWORK = "projects/p-1/global/networks/main"
IMAGE = f"europe-west1-docker.pkg.dev/p-1/images/prediction@sha256:{'a' * 64}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a cloud of the test's own, without emulators."""
    return tmp_path / "home"


@pytest.fixture
def stack(simulator: dict[str, str], tmp_path: Path, home: Path) -> Stack:
    return Stack(tmp_path, "stack", simulator | {"SIMULATOR_HOME": str(home)})


def refusals(stack: Stack) -> dict[str, str]:
    """Apply a configuration that fails in part; returns the errors by resource type."""
    run = stack.run("apply", "-auto-approve")
    assert run.status == 1
    return {
        each["address"].partition(".")[0]: f"{each['summary']}: {each['detail']}"
        for each in run.diagnostics("error")
    }


def inject(home: Path, *faults: dict[str, Any]) -> None:
    home.mkdir(exist_ok=True)
    (home / "faults.json").write_text(json.dumps(faults))


def account() -> dict[str, Any]:
    return {"google_service_account": {"runner": {"account_id": "runner"}}}


def grant(**arguments: Any) -> dict[str, Any]:
    """A grant to the account by name, as between stacks: only `depends_on` delays it."""
    member = {"project": "p-1", "role": "roles/composer.worker", "member": f"serviceAccount:{RUNNER}"}
    return {"google_project_iam_member": {"worker": member | arguments}}


def deployment() -> dict[str, Any]:
    container = {"name": "web", "image": IMAGE, "command": ["python", "-m", "http.server"]}
    template = {"metadata": {}, "spec": {"service_account_name": "web", "container": [container]}}
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"match_labels": {"app": "web"}}, "template": template},
    }


def test_missing_resources_are_refused(stack: Stack) -> None:
    stack.write(
        {
            "google_artifact_registry_repository_iam_member": {
                "read": {
                    "repository": "images",
                    "location": "europe-west1",
                    "role": "roles/artifactregistry.reader",
                    "member": "user:a@example.com",
                }
            },
            "google_bigquery_table_iam_member": {
                "write": {
                    "dataset_id": "sales",
                    "table_id": "sales",
                    "role": "roles/bigquery.dataEditor",
                    "member": "user:a@example.com",
                }
            },
            "google_composer_environment": {
                "airflow": {"name": "airflow", "config": {"node_config": {"service_account": RUNNER}}}
            },
            "google_compute_subnetwork": {
                "nodes": {"name": "nodes", "network": NETWORK, "ip_cidr_range": "10.0.0.0/24"}
            },
            "google_container_node_pool": {
                "general": {"name": "general", "cluster": "main", "location": "europe-west1"}
            },
            "google_project_iam_member": grant()["google_project_iam_member"],
            "google_pubsub_topic_iam_member": {
                "publish": {"topic": "t", "role": "roles/pubsub.publisher", "member": "user:a@example.com"}
            },
            "google_storage_bucket_iam_member": {
                "agent": {"bucket": "b", "role": "roles/viewer", "member": f"serviceAccount:{AGENT}"}
            },
            "kubernetes_deployment_v1": {"web": deployment()},
            "kubernetes_manifest": {
                "policy": {
                    "manifest": {
                        "apiVersion": "networking.gke.io/v1",
                        "kind": "HealthCheckPolicy",
                        "metadata": {"name": "web", "namespace": "shop"},
                    }
                }
            },
            "kubernetes_service_account_v1": {"web": {"metadata": {"name": "web", "namespace": "shop"}}},
        },
        providers=("google", "kubernetes"),
    )
    found = refusals(stack)
    for kind, reason in {
        "google_artifact_registry_repository_iam_member": "repositories/images does not exist",
        "google_bigquery_table_iam_member": "datasets/sales/tables/sales does not exist",
        "google_composer_environment": f"{RUNNER} needs roles/composer.worker",
        "google_compute_subnetwork": f"{NETWORK} does not exist",
        "google_container_node_pool": "clusters/main does not exist",
        "google_project_iam_member": f"Service account {RUNNER} does not exist",
        "google_pubsub_topic_iam_member": "projects/p-1/topics/t does not exist",
        "google_storage_bucket_iam_member": f"Service account {AGENT} does not exist: scripts/bootstrap.sh",
        "kubernetes_deployment_v1": 'serviceaccount "web" not found',
        "kubernetes_manifest": 'namespaces "shop" not found',
        "kubernetes_service_account_v1": 'namespaces "shop" not found',
    }.items():
        assert reason in found.pop(kind)
    assert found == {}


def test_missing_apis_pools_and_grants_are_refused(stack: Stack) -> None:
    enabled = {
        "apis": {
            "for_each": '${toset(["compute", "container", "iam"])}',
            "service": "${each.value}.googleapis.com",
        }
    }
    cluster = {
        "name": "main",
        "location": "europe-west1",
        "deletion_protection": False,
        "depends_on": ["google_project_service.apis"],
    }
    nodes = {
        "name": "general",
        "cluster": "${google_container_cluster.main.id}",
        "node_config": {"service_account": "${google_service_account.runner.email}"},
    }
    stack.write(
        {
            "google_project_service": enabled,
            "google_service_account": {
                "runner": {"account_id": "runner", "depends_on": ["google_project_service.apis"]}
            },
            "google_container_cluster": {"main": cluster},
            "google_container_node_pool": {"general": nodes},
            "google_artifact_registry_repository": {
                "images": {
                    "repository_id": "images",
                    "format": "DOCKER",
                    "location": "europe-west1",
                    "depends_on": ["google_project_service.apis"],
                }
            },
            "google_cloud_quotas_quota_preference": {
                "cap": {
                    "parent": "projects/p-1",
                    "name": "cap",
                    "service": "bigquery.googleapis.com",
                    "quota_id": "QueryUsagePerUserPerDay",
                    "quota_config": {"preferred_value": "1"},
                    "depends_on": ["google_project_service.apis"],
                }
            },
            "google_container_analysis_note": {
                "tried": {
                    "name": "tried",
                    "attestation_authority": {"hint": {"human_readable_name": "tried"}},
                    "depends_on": ["google_project_service.apis"],
                }
            },
            "google_project_iam_member": {
                "pods": {
                    "project": "p-1",
                    "role": "roles/viewer",
                    "member": f"{POOL}/subject/ns/shop/sa/web",
                    "depends_on": ["google_container_node_pool.general"],
                }
            },
            "kubernetes_service_account_v1": {"web": {"metadata": {"name": "web", "namespace": "default"}}},
            "kubernetes_deployment_v1": {
                "web": deployment()
                | {
                    "depends_on": [
                        "kubernetes_service_account_v1.web",
                        "google_project_iam_member.pods",
                        "google_artifact_registry_repository.images",
                    ]
                }
            },
        },
        providers=("google", "kubernetes"),
    )
    found = refusals(stack)
    for kind, reason in {
        "google_artifact_registry_repository": "artifactregistry.googleapis.com has not been used",
        "google_cloud_quotas_quota_preference": "cloudquotas.googleapis.com has not been used",
        "google_container_analysis_note": "containeranalysis.googleapis.com has not been used",
        "google_project_iam_member": "Identity Pool does not exist (p-1.svc.id.goog)",
    }.items():
        assert reason in found.pop(kind)
    assert found == {}

    content = json.loads((stack.folder / "cdk.tf.json").read_text())
    resources = content["resource"]
    apis = ["artifactregistry", "cloudquotas", "compute", "container", "containeranalysis", "iam"]
    enabled["apis"]["for_each"] = f"${{toset({json.dumps(apis)})}}"
    cluster["workload_identity_config"] = [{"workload_pool": "p-1.svc.id.goog"}]  # pyright: ignore[reportArgumentType]
    resources |= {"google_project_service": enabled, "google_container_cluster": {"main": cluster}}
    stack.write(resources, providers=("google", "kubernetes"))
    found = refusals(stack)
    assert found.keys() == {"kubernetes_deployment_v1"}
    assert f"nodes run as {RUNNER}, which may not read" in found["kubernetes_deployment_v1"]


def test_a_network_in_use_by_another_stack_stays(stack: Stack, home: Path) -> None:
    stack.write({"google_compute_network": {"main": {"name": "main", "auto_create_subnetworks": False}}})
    stack.apply()
    other = Stack(stack.outdir, "other", stack.environment)
    subnetwork = {"name": "nodes", "network": NETWORK, "ip_cidr_range": "10.0.0.0/24"}
    other.write({"google_compute_subnetwork": {"nodes": subnetwork}})
    other.apply()
    refused = stack.destroy()
    assert refused.status == 1
    assert "is already being used by" in refused.diagnostics("error")[0]["detail"]
    assert other.destroy().status == 0
    assert stack.destroy().status == 0
    assert list((home / "resources").rglob("*.json")) == []


def test_a_dependency_that_is_missing_shows_when_creation_is_slow(stack: Stack, home: Path) -> None:
    inject(home, {"type": "google_service_account", "seconds": 2})
    stack.write(account() | grant())
    assert "does not exist" in refusals(stack)["google_project_iam_member"]
    assert stack.destroy().status == 0
    stack.write(account() | grant(depends_on=["google_service_account.runner"]))
    stack.apply()


def test_a_failure_in_the_middle_is_repaired_by_the_next_run(stack: Stack, home: Path) -> None:
    inject(home, {"type": "google_service_account", "skip": 2, "error": "Error 503: backendError"})
    names = [f"runner-{number}" for number in range(4)]
    stack.write({"google_service_account": {name: {"account_id": name} for name in names}})
    assert list(refusals(stack).values()) == ["Error 503: backendError: an injected fault"]
    assert list(stack.plan().changes().values()) == ["create"]
    stack.apply()
    assert stack.plan().changes() == {}


def test_a_refresh_restores_a_lost_inventory(stack: Stack, home: Path) -> None:
    stack.write(account())
    stack.apply()
    subprocess.run(["rm", "-r", str(home / "resources")], check=True)
    stack.write(account() | grant())
    stack.apply()


def test_a_dataset_takes_workload_identities_only_as_iam_members(stack: Stack) -> None:
    member = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/s"
    grant = {"dataset_id": "sales", "role": "roles/bigquery.dataViewer", "member": member}
    stack.write({"google_bigquery_dataset_iam_member": {"read": grant}})
    assert f"write the member as iamMember:{member}" in refusals(stack)["google_bigquery_dataset_iam_member"]


def test_grants_vanish_with_the_resource_they_are_on(stack: Stack, home: Path) -> None:
    secret = {"secret_id": "key", "replication": {"auto": {}}}
    member = {"secret_id": "key", "role": "roles/viewer", "member": "user:a@example.com"}
    other = Stack(stack.outdir, "other", stack.environment)
    stack.write({"google_secret_manager_secret": {"key": secret}})
    stack.apply()
    other.write({"google_secret_manager_secret_iam_member": {"read": member}})
    other.apply()
    assert other.plan().changes() == {}
    assert stack.destroy().status == 0
    stack.apply()
    assert other.plan().changes() == {"google_secret_manager_secret_iam_member.read": "create"}
    other.apply()
    assert other.plan().changes() == {}
    assert other.destroy().status == 0
    assert stack.destroy().status == 0
    assert [file for file in (home / "resources").rglob("*") if file.is_file()] == []


def test_what_an_api_writes_in_its_own_way_shows_in_every_later_plan(stack: Stack) -> None:
    def write(average: str, document: str) -> None:
        metric = {"metric": {"name": "backlog"}, "target": {"type": "AverageValue", "average_value": average}}
        spec = {
            "behavior": {"scale_up": {"policy": {"type": "Pods", "value": 4, "period_seconds": 30}}},
            "max_replicas": 3,
            "scale_target_ref": {"kind": "Deployment", "name": "web"},
            "metric": {"type": "External", "external": metric},
        }
        stack.write(
            {
                "google_monitoring_dashboard": {"web": {"dashboard_json": document}},
                "kubernetes_horizontal_pod_autoscaler_v2": {
                    "web": {"metadata": {"name": "web"}, "spec": spec}
                },
            },
            providers=("google", "kubernetes"),
        )

    write("1000", '{"displayName": "web", "mosaicLayout": {"columns": 0, "tiles": [{"title": ""}]}}')
    stack.apply()
    assert set(stack.plan().changes().values()) == {"update"}
    stack.apply()
    assert len(stack.plan().changes()) == 2
    write("1k", '{"displayName": "web", "mosaicLayout": {"tiles": [{}]}}')
    stack.apply()
    assert stack.plan().changes() == {}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1000", "1k"),
        ("1k", "1k"),
        ("1500", "1500"),
        ("0.5", "500m"),
        ("2000000", "2M"),
        ("1Gi", "1Gi"),
        ("0", "0"),
    ],
)
def test_quantities_as_kubernetes_writes_them(written: str, stored: str) -> None:
    assert canonical.quantity(written) == stored
