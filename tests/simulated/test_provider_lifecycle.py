"""Create, read, update, replace and delete through real Terraform."""

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.simulated.conftest import Stack

ACCOUNT = "google_service_account.account"
RECORDED: dict[str, Any] = {
    "google_service_account": {"account": {"account_id": "runner"}},
    "google_project_iam_member": {
        "grant": {
            "project": "p-1",
            "role": "roles/viewer",
            "member": "${google_service_account.account.member}",
        }
    },
    "google_container_cluster": {
        "cluster": {
            "name": "main",
            "location": "europe-west1",
            "deletion_protection": False,
            "control_plane_endpoints_config": {"dns_endpoint_config": {"allow_external_traffic": True}},
        }
    },
    "kubernetes_namespace_v1": {"apps": {"metadata": {"name": "apps"}, "timeouts": {"delete": "20m"}}},
    "kubernetes_manifest": {
        "gateway": {
            "manifest": {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": {
                    "name": "gateway",
                    "namespace": "${kubernetes_namespace_v1.apps.metadata[0].name}",
                },
                "spec": {"listeners": [{"name": "https", "port": 443}]},
            }
        }
    },
}


def account(**arguments: Any) -> dict[str, Any]:
    return {"google_service_account": {"account": {"account_id": "runner", **arguments}}}


def test_opentofu_counts_as_terraform(stack: Stack) -> None:
    if shutil.which("tofu") is None:
        pytest.skip("OpenTofu is absent: `mise use opentofu` brings it")
    stack = dataclasses.replace(stack, program="tofu")
    stack.write(RECORDED, providers=("google", "kubernetes"))
    stack.apply()
    assert stack.plan().changes() == {}
    assert json.loads((stack.folder / "terraform.tfstate").read_text())["resources"]
    assert stack.destroy().status == 0
    assert json.loads((stack.folder / "terraform.tfstate").read_text())["resources"] == []


def test_computed_values_flow_between_resources_and_are_the_same_every_time(stack: Stack) -> None:
    stack.write(RECORDED, providers=("google", "kubernetes"))
    stack.apply()
    assert stack.plan().changes() == {}

    email = "runner@p-1.iam.gserviceaccount.com"
    assert stack.values(ACCOUNT)["email"] == email
    assert stack.values(ACCOUNT)["name"] == f"projects/p-1/serviceAccounts/{email}"
    assert stack.values("google_project_iam_member.grant")["member"] == f"serviceAccount:{email}"
    cluster = stack.values("google_container_cluster.cluster")
    assert cluster["id"] == "projects/p-1/locations/europe-west1/clusters/main"
    (endpoints,) = cluster["control_plane_endpoints_config"]
    (dns,) = endpoints["dns_endpoint_config"]
    assert dns["endpoint"].endswith(".europe-west1.gke.goog")
    assert cluster["master_auth"][0]["cluster_ca_certificate"]
    manifest = stack.values("kubernetes_manifest.gateway")["object"]["value"]
    assert manifest["metadata"] == {"name": "gateway", "namespace": "apps"}

    assert stack.destroy().status == 0
    assert json.loads((stack.folder / "terraform.tfstate").read_text())["resources"] == []
    stack.apply()
    assert stack.values("google_container_cluster.cluster") == cluster


def test_changes_in_place_keep_computed_values(stack: Stack) -> None:
    stack.write(account(display_name="before"))
    stack.apply()
    before = stack.values(ACCOUNT)

    stack.write(account(display_name="after"))
    assert stack.plan().changes() == {ACCOUNT: "update"}
    stack.apply()
    assert stack.values(ACCOUNT) == before | {"display_name": "after"}

    stack.write(account())
    assert stack.plan().changes() == {ACCOUNT: "update"}
    stack.apply()
    assert stack.values(ACCOUNT)["display_name"] is None


def test_labels_reach_the_computed_labels(stack: Stack) -> None:
    images = {"location": "europe-west1", "repository_id": "images", "format": "DOCKER"}
    address = "google_artifact_registry_repository.images"
    stack.write(
        {"google_artifact_registry_repository": {"images": images | {"labels": {"a": "1"}}}},
        google={"default_labels": {"b": "2"}},
    )
    stack.apply()
    assert stack.values(address)["effective_labels"] == {"a": "1", "b": "2"}
    stack.write({"google_artifact_registry_repository": {"images": images | {"labels": {"a": "3"}}}})
    assert stack.plan().changes() == {address: "update"}


def test_a_change_of_identity_replaces(stack: Stack) -> None:
    def manifest(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Gateway", "metadata": {"name": name}}

    def grant(role: str) -> dict[str, str]:
        return {"project": "p-1", "role": role, "member": "user:a@example.com"}

    def write(account_id: str, project: str, role: str, name: str) -> None:
        stack.write(
            {
                "google_service_account": {
                    "renamed": {"account_id": account_id},
                    "moved": {"account_id": "mover", "project": project},
                },
                "google_project_iam_member": {"granted": grant(role)},
                "kubernetes_namespace_v1": {"renamed": {"metadata": {"name": name}}},
                "kubernetes_manifest": {"renamed": {"manifest": manifest(name)}},
            },
            providers=("google", "kubernetes"),
        )

    write("runner", "p-1", "roles/viewer", "before")
    stack.apply()
    write("walker", "p-2", "roles/editor", "after")
    changes = stack.plan().changes()
    assert set(changes.values()) == {"replace"}
    assert len(changes) == 5
    stack.apply()
    assert stack.plan().changes() == {}


def test_project_of_the_provider_moves_resources(stack: Stack) -> None:
    stack.write(account())
    stack.apply()
    assert stack.values(ACCOUNT)["project"] == "p-1"
    stack.write(account(), google={"project": "p-2"})
    assert stack.plan().changes() == {ACCOUNT: "replace"}


def test_every_apply_says_once_that_it_is_a_simulation(stack: Stack) -> None:
    accounts = {f"account-{index}": {"account_id": f"runner-{index}"} for index in range(5)}
    stack.write({"google_service_account": accounts})
    assert stack.plan().diagnostics("warning") == []
    (warning,) = stack.apply().diagnostics("warning")
    assert warning["summary"] == "This is a simulation"
    assert stack.destroy().diagnostics("warning") == []


@pytest.mark.parametrize("protection", [{}, {"deletion_protection": True}])
def test_protected_resources_are_not_destroyed(stack: Stack, protection: dict[str, bool]) -> None:
    cluster: dict[str, Any] = {"name": "main", "location": "europe-west1"}
    stack.write({"google_container_cluster": {"cluster": cluster | protection}})
    stack.apply()
    refused = stack.destroy()
    assert refused.status == 1
    assert refused.diagnostics("error")[0]["summary"] == "Deletion protection"
    stack.write({"google_container_cluster": {"cluster": cluster | {"deletion_protection": False}}})
    stack.apply()
    assert stack.destroy().status == 0


def test_stacks_are_applied_side_by_side(make_stack: Callable[[str], Stack]) -> None:
    stacks = [make_stack(name) for name in ("one", "two", "three")]
    for each in stacks:
        each.write(account(display_name=each.name))
    with ThreadPoolExecutor(len(stacks)) as pool:
        list(pool.map(Stack.apply, stacks))
    assert [each.values(ACCOUNT)["display_name"] for each in stacks] == ["one", "two", "three"]


def test_a_topic_that_was_deleted_by_hand_is_created_again(stack: Stack, simulator: dict[str, str]) -> None:
    address = "google_pubsub_topic.topic"
    stack.write({"google_pubsub_topic": {"topic": {"name": "drift"}}})
    stack.apply()
    assert stack.plan().changes() == {}

    record = Path(simulator["SIMULATOR_HOME"], "processes", "emulator.pubsub.json")
    port = json.loads(record.read_text())["labels"]["port"]
    url = f"http://127.0.0.1:{port}/v1/projects/p-1/topics/drift"
    httpx.delete(url).raise_for_status()
    assert stack.plan().changes() == {address: "create"}
    stack.apply()
    assert httpx.get(url).status_code == 200
    assert stack.destroy().status == 0
    assert httpx.get(url).status_code == 404


def test_a_replacement_says_what_it_loses(stack: Stack) -> None:
    stack.write({"google_pubsub_topic": {"topic": {"name": "before"}}})
    stack.apply()
    stack.write({"google_pubsub_topic": {"topic": {"name": "before", "labels": {"a": "b"}}}})
    assert stack.plan().diagnostics("warning") == []
    stack.write({"google_pubsub_topic": {"topic": {"name": "after"}}})
    plan = stack.plan()
    assert plan.changes() == {"google_pubsub_topic.topic": "replace"}
    assert "topics/before is made anew: the messages" in plan.diagnostics("warning")[0]["detail"]
    assert stack.destroy().status == 0


def test_interrupt_leaves_the_provider_to_terraform(stack: Stack) -> None:
    """Ctrl-C signals the provider too, which must finish what Terraform has begun."""
    stack.write(account())
    with subprocess.Popen(
        ["terraform", "plan", "-input=false"],
        cwd=stack.folder,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as terraform:
        signalled: set[int] = set()
        while terraform.poll() is None:
            time.sleep(0.02)
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(terraform.pid).children(recursive=True):
                    # It listens, hence it is past its start.
                    if child.pid not in signalled and child.net_connections("unix"):
                        child.send_signal(signal.SIGINT)
                        signalled.add(child.pid)
    assert signalled
    assert terraform.returncode == 0


def test_a_type_that_only_the_state_has_is_destroyed(stack: Stack) -> None:
    stack.write({"google_service_account": {"a": {"account_id": "runner"}}})
    stack.apply()
    stack.write({"google_project_service": {"iam": {"service": "iam.googleapis.com"}}})
    assert stack.plan().changes() == {
        "google_project_service.iam": "create",
        "google_service_account.a": "delete",
    }
    stack.apply()
    assert stack.plan().changes() == {}


def test_a_deployment_that_never_gets_ready_is_tainted_where_terraform_waits(stack: Stack) -> None:
    address = "kubernetes_deployment_v1.web"

    def write(program: str, *, wait: bool) -> None:
        container = {"name": "web", "image": "prediction:1", "command": ["python", "-c", program]}
        spec = {
            "selector": {"match_labels": {"app": "web"}},
            "template": {"metadata": {}, "spec": {"container": [container]}},
        }
        deployment = {"metadata": {"name": "unready"}, "spec": spec, "wait_for_rollout": wait}
        stack.write({"kubernetes_deployment_v1": {"web": deployment}}, providers=("kubernetes",))

    def state() -> list[str | None]:
        resources = json.loads((stack.folder / "terraform.tfstate").read_text())["resources"]
        return [each["instances"][0].get("status") for each in resources]

    write("raise SystemExit('no model')", wait=False)
    refused = stack.run("apply", "-auto-approve")
    assert "no model" in refused.diagnostics("error")[0]["detail"]
    assert state() == []

    write("raise SystemExit('no model')", wait=True)
    refused = stack.run("apply", "-auto-approve")
    assert "no model" in refused.diagnostics("error")[0]["detail"]
    assert state() == ["tainted"]
    assert stack.plan().changes() == {address: "replace"}

    write("import time; time.sleep(600)", wait=True)
    stack.apply()
    assert stack.plan().changes() == {}
    assert stack.destroy().status == 0


def test_grants_on_a_bucket_vanish_with_it(stack: Stack) -> None:
    grant = {"bucket": "vanishing", "role": "roles/viewer", "member": "user:a@example.com"}
    stack.write(
        {
            "google_storage_bucket": {"sales": {"name": "vanishing", "location": "EU"}},
            "google_storage_bucket_iam_member": {"read": grant},
        }
    )
    stack.apply()
    assert stack.run("destroy", "-auto-approve", "-target=google_storage_bucket.sales").status == 0
    assert set(stack.plan().changes().values()) == {"create"}
    assert len(stack.plan().changes()) == 2
    assert stack.destroy().status == 0
