"""Images, and the cluster that runs them."""

from tests.stacks.synthesized import Synthesis


def test_image_repository(synthesis: Synthesis) -> None:
    synthesis.stack("prod-registry").one(
        "google_artifact_registry_repository",
        repository_id="sales-forecast",
        location="europe-west1",
        format="DOCKER",
        docker_config={"immutable_tags": True},
        cleanup_policies=[{"action": "KEEP"}, {"action": "DELETE", "condition": {"older_than": "2592000s"}}],
    )


def test_cluster(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster").one(
        "google_container_cluster",
        name="sales-forecast",
        location="europe-west1",
        node_locations=["europe-west1-b", "europe-west1-c", "europe-west1-d"],
        network="projects/sales-forecast-prod/global/networks/sales-forecast",
        subnetwork="projects/sales-forecast-prod/regions/europe-west1/subnetworks/sales-forecast-nodes",
        remove_default_node_pool=True,
        private_cluster_config={"enable_private_nodes": True},
        workload_identity_config={"workload_pool": "sales-forecast-prod.svc.id.goog"},
        gateway_api_config={"channel": "CHANNEL_STANDARD"},
        datapath_provider="ADVANCED_DATAPATH",
        release_channel={"channel": "REGULAR"},
    )
    assert cluster["control_plane_endpoints_config"] == {
        "dns_endpoint_config": {"allow_external_traffic": True},
        "ip_endpoints_config": {"enabled": False},
    }
    assert "node_pool" not in cluster
    assert "node_config" not in cluster


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


def test_nodes_run_as_an_account_of_their_own(synthesis: Synthesis) -> None:
    cluster = synthesis.stack("prod-cluster")
    email = "sales-forecast-nodes@sales-forecast-prod.iam.gserviceaccount.com"
    cluster.one("google_service_account", account_id="sales-forecast-nodes")
    cluster.one(
        "google_container_node_pool",
        autoscaling={"min_node_count": 1, "max_node_count": 5},
        management={"auto_repair": True, "auto_upgrade": True},
        node_config={
            "machine_type": "e2-standard-4",
            "service_account": email,
            "shielded_instance_config": {"enable_secure_boot": True, "enable_integrity_monitoring": True},
            "workload_metadata_config": {"mode": "GKE_METADATA"},
        },
    )
    cluster.one(
        "google_artifact_registry_repository_iam_member",
        repository="sales-forecast",
        role="roles/artifactregistry.reader",
        member=f"serviceAccount:{email}",
    )
