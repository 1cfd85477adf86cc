"""Refusals that depend on other resources, and injected faults."""

import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import inventory
from tests.simulated.conftest import Stack

AGENT = "service-1@gcp-sa-pubsub.iam.gserviceaccount.com"
RUNNER = "runner@p-1.iam.gserviceaccount.com"
POOL = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p-1.svc.id.goog"
NETWORK = "projects/p-1/global/networks/main"
IMAGE = f"europe-west1-docker.pkg.dev/p-1/images/prediction@sha256:{'a' * 64}"


@pytest.fixture
def home(simulator: dict[str, str]) -> Path:
    """The folder of the cloud, in which nothing is left of other tests."""
    home = Path(simulator["SIMULATOR_HOME"])
    shutil.rmtree(home / "resources", ignore_errors=True)
    (home / "faults.json").unlink(missing_ok=True)
    return home


@pytest.fixture
def stack(simulator: dict[str, str], tmp_path: Path, home: Path) -> Stack:
    """Made after `home` is cleared."""
    return Stack(tmp_path, "stack", simulator)


def refusals(stack: Stack) -> dict[str, str]:
    """Apply a configuration that fails in part; returns the errors by resource type."""
    run = stack.run("apply", "-auto-approve")
    assert run.status == 1
    return {
        each["address"].partition(".")[0]: f"{each['summary']}: {each['detail']}"
        for each in run.diagnostics("error")
    }


def inject(home: Path, *faults: dict[str, Any]) -> None:
    (home / "faults.json").write_text(json.dumps(faults))


def record(home: Path, kind: str, id_: str, **values: Any) -> None:
    """Put a resource into the inventory, as another stack does."""
    file = home / "resources" / kind / f"{hashlib.sha256(id_.encode()).hexdigest()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"id": id_, "project": "p-1", **values}))


def account() -> dict[str, Any]:
    return {"google_service_account": {"runner": {"account_id": "runner"}}}


def grant(**arguments: Any) -> dict[str, Any]:
    """A grant to the account by name, as between stacks: only `depends_on` delays it."""
    member = {"project": "p-1", "role": "roles/composer.worker", "member": f"serviceAccount:{RUNNER}"}
    return {"google_project_iam_member": {"worker": member | arguments}}


def manifest(kind: str, spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    metadata = {"name": "web", "namespace": namespace}
    return {"manifest": {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}}


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
    assert found.keys() == {"google_cloud_quotas_quota_preference", "kubernetes_deployment_v1"}
    assert "bigquery.googleapis.com has not been" in found["google_cloud_quotas_quota_preference"]
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


def test_a_copy_of_a_dataset_is_where_its_transfer_is_made_by_who_may(stack: Stack, home: Path) -> None:
    params = {"source_project_id": "p-1", "source_dataset_id": "sales"}
    transfer: dict[str, Any] = {
        "display_name": "copy",
        "data_source_id": "cross_region_copy",
        "destination_dataset_id": "copy",
        "location": "europe-west1",
        "schedule": "every 6 hours",
        "params": params | {"source_dataset_id": "sale"},
        "service_account_name": RUNNER,
    }
    reads = {"dataset_id": "sales", "role": "roles/bigquery.dataViewer"}
    replaces = {"dataset_id": "copy", "role": "projects/p-1/roles/replacer"}
    for name, location in (("sales", "europe-west1"), ("copy", "europe-west4")):
        record(
            home,
            "google_bigquery_dataset",
            f"projects/p-1/datasets/{name}",
            dataset_id=name,
            location=location,
        )
    grants: dict[str, Any] = {"other": {"dataset_id": "sales", "role": "roles/bigquery.metadataViewer"}}

    def write() -> None:
        transfer["depends_on"] = [f"google_bigquery_dataset_iam_member.{name}" for name in grants]
        member = {"member": f"serviceAccount:{RUNNER}", "depends_on": ["google_service_account.runner"]}
        stack.write(
            account()
            | {"google_bigquery_data_transfer_config": {"copy": transfer}}
            | {"google_bigquery_dataset_iam_member": {name: each | member for name, each in grants.items()}}
        )

    def refused() -> str:
        write()
        return refusals(stack)["google_bigquery_data_transfer_config"]

    assert "dataset sale does not exist" in refused()
    transfer["params"] = params
    assert "Cannot create a transfer in europe-west1" in refused()
    transfer["location"] = "europe-west4"
    assert "every 12 hours at most" in refused()
    transfer["schedule"] = "every day 08:00"
    assert "needs roles/bigquery.dataViewer" in refused()
    grants["read"] = reads
    assert "on projects/p-1/datasets/copy" in refused()
    grants["replace"] = replaces
    write()
    stack.apply()
    assert stack.plan().changes() == {}


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
    assert inventory.quantity(written) == stored


def policy(condition: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    shown = {"display_name": "a condition"}
    return {"display_name": "an alert", "combiner": "OR", "conditions": [shown | condition]} | arguments


def threshold(metric: str) -> dict[str, Any]:
    return {
        "condition_threshold": {
            "filter": f'resource.type = "k8s_container" AND metric.type = "{metric}"',
            "comparison": "COMPARISON_GT",
            "duration": "0s",
        }
    }


def promql(query: str, **arguments: Any) -> dict[str, Any]:
    return {"condition_prometheus_query_language": {"query": query} | arguments}


def test_metrics_exist_from_their_first_value_on(stack: Stack) -> None:
    own, googles = "prometheus.googleapis.com/requests_total/counter", "kubernetes.io/container/restart_count"
    stack.write({"google_monitoring_alert_policy": {"own": policy(threshold(own))}})
    reason = f'Error 404: notFound: Cannot find metric(s) that match type = "{own}".'
    assert refusals(stack) == {"google_monitoring_alert_policy": reason}

    ratio = 'sum by (job) (rate(requests_total{code=~"5.."}[5m])) > 0.1'
    stack.write({"google_monitoring_alert_policy": {"own": policy(promql(ratio))}})
    assert "set disable_metric_validation" in refusals(stack)["google_monitoring_alert_policy"]
    logged = policy(threshold("logging.googleapis.com/user/faults"))
    stack.write({"google_monitoring_alert_policy": {"logged": logged}})
    assert refusals(stack).keys() == {"google_monitoring_alert_policy"}
    stack.write(
        {
            "google_monitoring_alert_policy": {
                "own": policy(promql(ratio, disable_metric_validation=True)),
                "restarts": policy(threshold(googles)),
                "backlog": policy(threshold("pubsub.googleapis.com/subscription/oldest_unacked_message_age")),
            },
        }
    )
    stack.apply()


def test_a_grant_is_in_effect_minutes_later(stack: Stack, home: Path) -> None:
    agent = "service-1@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    record(home, "service_agent", agent)
    key = "projects/p-1/locations/europe-west1/keyRings/data/cryptoKeys/data"
    airflow = {"name": "airflow", "config": {"node_config": {"service_account": RUNNER}}}
    images = {"repository_id": "images", "format": "DOCKER", "location": "europe-west1", "kms_key_name": key}
    use = {
        "crypto_key_id": "${google_kms_crypto_key.data.id}",
        "role": "roles/cloudkms.cryptoKeyEncrypterDecrypter",
        "member": f"serviceAccount:{agent}",
    }
    worker, used = "google_project_iam_member.worker", "google_kms_crypto_key_iam_member.use"
    given: dict[str, Any] = {
        **account(),
        "google_kms_key_ring": {"data": {"name": "data", "location": "europe-west1"}},
        "google_kms_crypto_key": {"data": {"name": "data", "key_ring": "${google_kms_key_ring.data.id}"}},
    }
    after_key = {"depends_on": ["google_kms_crypto_key.data"]}
    grants = {**grant(**after_key), "google_kms_crypto_key_iam_member": {"use": use}}

    def users(*after: str) -> dict[str, Any]:
        return {
            "google_artifact_registry_repository": {"images": images | {"depends_on": [*after]}},
            "google_composer_environment": {"airflow": airflow | {"depends_on": [*after]}},
        }

    stack.write(given)
    stack.apply()
    stack.write({**given, **users()})
    for reason in refusals(stack).values():
        assert "must depend on that grant" in reason
    stack.write({**given, **grants, **users(worker, used)})
    found = refusals(stack)
    assert found.keys() == users().keys()
    for reason in found.values():
        assert "has had it for seconds: it must wait until the grant is in effect" in reason
    stack.apply()  # some time later
    assert stack.plan().changes() == {}

    assert stack.destroy().status == 0
    wait = {"terraform_data": {"wait": {"triggers_replace": [f"${{{each}.id}}" for each in (worker, used)]}}}
    names = {"google_kms_key_ring": {"data": {"name": "second", "location": "europe-west1"}}}
    images["kms_key_name"] = key.replace("keyRings/data", "keyRings/second")
    stack.write({**given, **names, **grants, **wait, **users("terraform_data.wait")})
    stack.apply()


def test_what_others_use_stays(make_stack: Callable[[str], Stack]) -> None:
    stack, other = make_stack("stack"), make_stack("other")
    channel = {"type": "email", "labels": {"email_address": "a@example.com"}}
    rule = {"action": "allow", "priority": 1, "match": {"versioned_expr": "SRC_IPS_V1"}}
    stack.write(
        {
            "google_certificate_manager_certificate": {
                "web": {"name": "web", "managed": {"domains": ["example.com"]}}
            },
            "google_compute_address": {"web": {"name": "web"}},
            "google_compute_region_security_policy": {"web": {"name": "web", "rules": [rule]}},
            "google_compute_region_ssl_policy": {"web": {"name": "web", "region": "europe-west1"}},
            "google_monitoring_notification_channel": {
                "mail": channel | {"display_name": "mail"},
                "paid": channel | {"display_name": "paid"},
                "forced": channel | {"display_name": "forced", "force_delete": True},
            },
        }
    )
    stack.apply()
    mail, paid, forced = (
        stack.values(f"google_monitoring_notification_channel.{name}")["id"]
        for name in ("mail", "paid", "forced")
    )
    listener = {"tls": {"options": {"networking.gke.io/cert-manager-certs": "web"}}}
    gateway = {"addresses": [{"type": "NamedAddress", "value": "web"}], "listeners": [listener]}
    budget = {
        "billing_account": "000000-000000-000000",
        "amount": {"specified_amount": {"units": "1"}},
        "all_updates_rule": {"monitoring_notification_channels": [paid]},
    }
    alert = policy(threshold("kubernetes.io/container/restart_count"), notification_channels=[mail, forced])
    resources = {
        "google_billing_budget": {"budget": budget},
        "google_monitoring_alert_policy": {"alert": alert},
        "kubernetes_manifest": {
            "gateway": manifest("Gateway", gateway),
            "armor": manifest("GCPBackendPolicy", {"default": {"securityPolicy": "web"}}),
            "tls": manifest("GCPGatewayPolicy", {"default": {"sslPolicy": "web"}}),
        },
    }
    other.write(resources, providers=("google", "kubernetes"))
    assert "API requires a quota project" in refusals(other)["google_billing_budget"]
    billed = {"user_project_override": True, "billing_project": "p-1"}
    other.write(resources, providers=("google", "kubernetes"), google=billed)
    other.apply()

    def users() -> Counter[str]:
        """What uses those that are not destroyed."""
        run = stack.destroy()
        assert run.status == 1
        details = [each["detail"] for each in run.diagnostics("error")]
        return Counter(re.split(r" is already being used by (?:projects/p-1/)?", each)[1] for each in details)

    of_gateway = Counter({"Gateway/default/web": 2})
    armor, tls = Counter(["GCPBackendPolicy/default/web"]), Counter(["GCPGatewayPolicy/default/web"])
    found = users()
    others = sorted(found - of_gateway - armor - tls)
    assert [each.partition("/")[0] for each in others] == ["alertPolicies", "billingAccounts"]
    assert found.total() == 6

    del resources["kubernetes_manifest"]["tls"]
    other.write({"kubernetes_manifest": resources["kubernetes_manifest"]}, providers=("google", "kubernetes"))
    other.apply()
    assert users() == of_gateway + armor + tls, "the load balancer has not changed yet"
    other.plan()  # a while later
    assert users() == of_gateway + armor
    assert other.destroy().status == 0
    assert stack.destroy().status == 0


@pytest.mark.parametrize("after", [True, False])
def test_a_gateway_goes_before_what_its_load_balancer_uses(stack: Stack, after: bool) -> None:
    policy = "google_compute_region_ssl_policy.web"
    gateway = manifest("Gateway", {}) | {"depends_on": [policy] if after else []}
    tls = manifest("GCPGatewayPolicy", {"default": {"sslPolicy": "web"}}) | {"depends_on": [policy]}
    stack.write(
        {
            "google_compute_region_ssl_policy": {"web": {"name": "web", "region": "europe-west1"}},
            "kubernetes_manifest": {"gateway": gateway, "tls": tls},
        },
        providers=("google", "kubernetes"),
    )
    stack.apply()
    assert stack.destroy().status == (0 if after else 1)
    assert stack.destroy().status == 0


@pytest.mark.parametrize("before", [True, False])
def test_an_alert_lets_go_of_a_channel_before_it_is_deleted(stack: Stack, before: bool) -> None:
    def write(*names: str) -> None:
        settings = {"type": "email", "labels": {"email_address": "a@example.com"}}
        channel = settings | {"lifecycle": {"create_before_destroy": before}}
        references = [f"${{google_monitoring_notification_channel.{name}.id}}" for name in names]
        alert = policy(threshold("kubernetes.io/container/restart_count"), notification_channels=references)
        stack.write(
            {
                "google_monitoring_alert_policy": {"alert": alert},
                "google_monitoring_notification_channel": {
                    name: channel | {"display_name": name} for name in names
                },
            }
        )

    write("mail", "pager")
    stack.apply()
    write("mail")
    assert stack.run("apply", "-auto-approve").status == (0 if before else 1)


def test_a_namespace_goes_after_its_load_balancer(stack: Stack) -> None:
    def write(**arguments: Any) -> None:
        namespace = {"metadata": {"name": "shop"}} | arguments
        gateway = manifest("Gateway", {}, "${kubernetes_namespace_v1.shop.metadata[0].name}")
        stack.write(
            {
                "kubernetes_namespace_v1": {"shop": namespace},
                "kubernetes_manifest": {"gateway": gateway},
            },
            providers=("kubernetes",),
        )

    write()
    stack.apply()
    refused = stack.destroy()
    assert refused.status == 1
    assert "after 5m, namespace shop still has" in refused.diagnostics("error")[0]["detail"]
    assert stack.destroy().status == 0
    write(timeouts={"delete": "20m"})
    stack.apply()
    assert stack.destroy().status == 0
