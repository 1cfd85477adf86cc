"""The cluster that runs the images."""

import math

import pytest

from infra import environment
from infra.google.node_pool import CLASS_KEY, SPOT_CLASS
from tests.stacks.synthesized import Synthesis

KEY = "projects/sales-forecast-prod/locations/europe-west1/keyRings/sales-forecast/cryptoKeys/sales-forecast"
NODES = "sales-forecast-nodes@sales-forecast-prod.iam.gserviceaccount.com"
ENVIRONMENTS = environment.names()


def test_regional_in_the_zones_of_the_environment(synthesis: Synthesis) -> None:
    synthesis.stack("prod-cluster").one(
        "google_container_cluster",
        name="sales-forecast",
        location="europe-west1",
        node_locations=["europe-west1-b", "europe-west1-c", "europe-west1-d"],
        network="projects/sales-forecast-prod/global/networks/sales-forecast",
        subnetwork="projects/sales-forecast-prod/regions/europe-west1/subnetworks/sales-forecast-nodes",
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_every_cluster_has(synthesis: Synthesis, environment: str) -> None:
    synthesis.stack(f"{environment}-cluster").one(
        "google_container_cluster",
        private_cluster_config={"enable_private_nodes": True},
        control_plane_endpoints_config={
            "dns_endpoint_config": {"allow_external_traffic": True},
            "ip_endpoints_config": {"enabled": False},
        },
        workload_identity_config={"workload_pool": f"sales-forecast-{environment}.svc.id.goog"},
        datapath_provider="ADVANCED_DATAPATH",
        enable_intranode_visibility=True,
        gateway_api_config={"channel": "CHANNEL_STANDARD"},
        anonymous_authentication_config={"mode": "LIMITED"},
        rbac_binding_config={
            "enable_insecure_binding_system_authenticated": False,
            "enable_insecure_binding_system_unauthenticated": False,
        },
        vertical_pod_autoscaling={"enabled": True},
        cost_management_config={"enabled": True},
        security_posture_config={"mode": "BASIC"},
        monitoring_config={"managed_prometheus": {"enabled": True}},
        default_max_pods_per_node=110,
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_events_of_the_cluster_reach_a_topic(synthesis: Synthesis, environment: str) -> None:
    stack = synthesis.stack(f"{environment}-cluster")
    topic = f"projects/sales-forecast-{environment}/topics/cluster-events"
    cluster = stack.one(
        "google_container_cluster", notification_config={"pubsub": {"enabled": True, "topic": topic}}
    )
    assert stack.address("google_pubsub_topic", name="cluster-events") in cluster["depends_on"]


def test_ranges_of_pods_and_services_are_those_of_the_network(synthesis: Synthesis) -> None:
    subnet = synthesis.stack("prod-foundation").one("google_compute_subnetwork", name="sales-forecast-nodes")
    pods, services = (each["range_name"] for each in subnet["secondary_ip_range"])
    synthesis.stack("prod-cluster").one(
        "google_container_cluster",
        ip_allocation_policy={
            "cluster_secondary_range_name": pods,
            "services_secondary_range_name": services,
        },
    )


def test_the_default_pool_is_removed_and_leaves_no_trace(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster").one(
        "google_container_cluster",
        remove_default_node_pool=True,
        node_config={"service_account": NODES},
        lifecycle={"ignore_changes": ["node_config"]},
    )
    assert "node_pool" not in cluster


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_every_pool_has(synthesis: Synthesis, environment: str) -> None:
    cluster = synthesis.stack(f"{environment}-cluster")
    account = f"sales-forecast-nodes@sales-forecast-{environment}.iam.gserviceaccount.com"
    zones = len(cluster.one("google_container_cluster")["node_locations"])
    for pool in cluster.all("google_container_node_pool").values():
        cluster.one(
            "google_container_node_pool",
            name=pool["name"],
            cluster="${google_container_cluster.cluster.id}",
            management={"auto_repair": True, "auto_upgrade": True},
            node_config={
                "service_account": account,
                "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
                "workload_metadata_config": {"mode": "GKE_METADATA"},
                "kubelet_config": {"insecure_kubelet_readonly_port_enabled": "FALSE"},
                "resource_labels": {"environment": environment},
            },
        )
        # It starts with its fewest nodes, and later ones do not recreate it.
        fewest = pool["autoscaling"]["total_min_node_count"]
        assert pool["initial_node_count"] == math.ceil(fewest / zones)
        assert pool["lifecycle"] == {"ignore_changes": ["initial_node_count"]}


def test_general_pool(synthesis: Synthesis) -> None:
    pool = synthesis.stack("prod-cluster").one(
        "google_container_node_pool",
        name="general",
        autoscaling={"total_min_node_count": 3, "total_max_node_count": 15, "location_policy": "BALANCED"},
        upgrade_settings={"strategy": "BLUE_GREEN"},
        node_config={"machine_type": "e2-standard-4", "spot": False},
    )
    assert "taint" not in pool["node_config"]


def test_only_pods_that_ask_for_it_run_on_spot_nodes_and_their_stand_ins(synthesis: Synthesis) -> None:
    for name, spot, policy in (("spot", True, "ANY"), ("spot-fallback", False, "BALANCED")):
        synthesis.stack("prod-cluster").one(
            "google_container_node_pool",
            name=name,
            autoscaling={"total_min_node_count": 0, "total_max_node_count": 4, "location_policy": policy},
            upgrade_settings={"strategy": "SURGE", "max_surge": 1, "max_unavailable": 0},
            node_config={
                "spot": spot,
                "labels": {CLASS_KEY: SPOT_CLASS},
                "taint": [{"key": CLASS_KEY, "value": SPOT_CLASS, "effect": "NO_SCHEDULE"}],
            },
        )
        synthesis.stack("local-cluster").none("google_container_node_pool", name=name)


def test_gke_makes_no_pools_of_its_own(synthesis: Synthesis) -> None:
    for name, profile in (("prod", "BALANCED"), ("dev", "OPTIMIZE_UTILIZATION")):
        synthesis.stack(f"{name}-cluster").one(
            "google_container_cluster", cluster_autoscaling={"enabled": False, "autoscaling_profile": profile}
        )


def test_maintenance(synthesis: Synthesis) -> None:
    synthesis.stack("prod-cluster").one(
        "google_container_cluster",
        release_channel={"channel": "STABLE"},
        maintenance_policy={
            "recurring_window": {
                "start_time": "2024-01-01T01:00:00Z",  # a Monday
                "end_time": "2024-01-01T07:00:00Z",
                "recurrence": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH",
            },
            "maintenance_exclusion": [
                {
                    "exclusion_name": "black-friday",
                    "start_time": "2027-11-22T00:00:00Z",
                    "end_time": "2027-12-01T00:00:00Z",
                    "exclusion_options": {"scope": "NO_UPGRADES"},
                }
            ],
        },
    )
    synthesis.stack("dev-cluster").one(
        "google_container_cluster",
        maintenance_policy={
            "recurring_window": {
                "start_time": "2024-01-06T01:00:00Z",  # a Saturday
                "recurrence": "FREQ=WEEKLY;BYDAY=SA,SU",
            }
        },
    )


def test_what_is_seen_of_the_cluster(synthesis: Synthesis) -> None:
    workloads = ["SYSTEM_COMPONENTS", "DEPLOYMENT", "HPA", "POD"]
    control_plane = ["APISERVER", "SCHEDULER", "CONTROLLER_MANAGER"]
    for name, more in (("prod", control_plane), ("dev", [])):
        synthesis.stack(f"{name}-cluster").one(
            "google_container_cluster",
            logging_config={"enable_components": ["SYSTEM_COMPONENTS", "WORKLOADS", *more]},
            monitoring_config={"enable_components": [*workloads, *more]},
        )


def test_production_admits_only_images_that_were_signed(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster")
    cluster.one(
        "google_container_cluster",
        binary_authorization={"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"},
    )
    cluster.one(
        "google_binary_authorization_policy",
        default_admission_rule={
            "evaluation_mode": "REQUIRE_ATTESTATION",
            "require_attestations_by": ["projects/sales-forecast-prod/attestors/sales-forecast"],
            "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
        },
        global_policy_evaluation_mode="ENABLE",
    )
    policy = cluster.one("google_binary_authorization_policy")
    assert "admission_whitelist_patterns" not in policy, "whoever may push there could run anything"
    dev = synthesis.stack("dev-cluster")
    dev.none("google_binary_authorization_policy")
    assert "binary_authorization" not in dev.one("google_container_cluster")


def test_production_encrypts_secrets_with_its_own_key(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster")
    resource = cluster.one(
        "google_container_cluster", database_encryption={"state": "ENCRYPTED", "key_name": KEY}
    )
    for agent in ("container-engine-robot", "gcp-sa-gkebackup"):
        member = f"serviceAccount:service-100000000004@{agent}.iam.gserviceaccount.com"
        may_use = cluster.address("google_kms_crypto_key_iam_member", crypto_key_id=KEY, member=member)
        assert may_use in cluster.awaited(resource)
    assert "database_encryption" not in synthesis.stack("dev-cluster").one("google_container_cluster")


def test_production_is_backed_up(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster")
    cluster.one("google_container_cluster", addons_config={"gke_backup_agent_config": {"enabled": True}})
    cluster.one(
        "google_gke_backup_backup_plan",
        location="europe-west1",
        cluster="${google_container_cluster.cluster.id}",
        backup_schedule={"cron_schedule": "0 4 * * *"},
        retention_policy={"backup_retain_days": 30, "backup_delete_lock_days": 7},
        backup_config={
            "all_namespaces": True,
            "include_volume_data": True,
            "include_secrets": True,
            "encryption_key": {"gcp_kms_encryption_key": KEY},
        },
    )
    plan = cluster.address("google_gke_backup_backup_plan")
    cluster.one(
        "google_gke_backup_restore_plan",
        backup_plan=f"${{{plan}.id}}",
        cluster="${google_container_cluster.cluster.id}",
        # A restore never replaces what an apply has made.
        restore_config={
            "all_namespaces": True,
            "namespaced_resource_restore_mode": "MERGE_SKIP_ON_CONFLICT",
            "volume_data_restore_policy": "RESTORE_VOLUME_DATA_FROM_BACKUP",
        },
    )
    dev = synthesis.stack("dev-cluster")
    dev.none("google_gke_backup_backup_plan")
    dev.none("google_gke_backup_restore_plan")
    dev.one("google_container_cluster", addons_config={"gke_backup_agent_config": {"enabled": False}})


def test_the_cluster_waits_for_what_its_nodes_may_do(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster")
    assert cluster.awaited(cluster.one("google_container_cluster")) >= {
        cluster.address(
            "google_artifact_registry_repository_iam_member",
            repository="sales-forecast",
            role="roles/artifactregistry.reader",
            member=f"serviceAccount:{NODES}",
        ),
    }


def test_pods_start_and_scale_quickly(synthesis: Synthesis) -> None:
    prod = synthesis.stack("prod-cluster")
    for pool in prod.all("google_container_node_pool").values():
        assert pool["node_config"]["gcfs_config"] == {"enabled": True}
    prod.one("google_container_cluster", pod_autoscaling={"hpa_profile": "PERFORMANCE"})
