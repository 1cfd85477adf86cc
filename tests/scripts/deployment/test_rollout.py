"""Waiting for a rollout, against a server that speaks as GKE's API and a cluster do, over real TLS."""

import kubernetes.client
import pytest

from infra import environment
from scripts.command import CommandError
from scripts.deployment import rollout
from tests.scripts.conftest import DEPLOYMENTS, GATEWAY, PROGRAMMED, Cluster, deployment

STAGING = environment.load("staging")
DEPLOYMENT = f"{DEPLOYMENTS}/prediction"


@pytest.fixture
def client(cluster: Cluster) -> kubernetes.client.ApiClient:
    cluster.runs()
    return rollout.connect(STAGING, cluster.manager)


def test_waits_until_every_pod_is_new_and_available(
    cluster: Cluster, client: kubernetes.client.ApiClient
) -> None:
    steps = [(0, 2), (1, 2), (2, 1), (2, 2)]
    cluster.answers[DEPLOYMENT] = [deployment(updated=new, available=up) for new, up in steps]
    assert rollout.wait_rolled_out(client, "prediction") == "2 available"
    assert len(cluster.answers[DEPLOYMENT]) == 1, "all four states were seen"
    assert "Bearer token-of-the-caller" in cluster.tokens


def test_rollout_that_is_stuck(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    cluster.answers[DEPLOYMENT] = [deployment(updated=1, available=2, reason="ProgressDeadlineExceeded")]
    with pytest.raises(CommandError, match=r"does not progress: ImagePullBackOff; look at `kubectl"):
        rollout.wait_rolled_out(client, "prediction")


def test_rollout_that_takes_too_long(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    cluster.answers[DEPLOYMENT] = [deployment(updated=1, available=2)]
    with pytest.raises(CommandError, match="1 of 2 pods updated, 2 available"):
        rollout.wait_rolled_out(client, "prediction")


def test_service_that_was_never_deployed(client: kubernetes.client.ApiClient) -> None:
    with pytest.raises(CommandError, match="deployment prediction: 404"):
        rollout.wait_rolled_out(client, "prediction")


def test_waits_for_the_address_of_the_gateway(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    cluster.answers[GATEWAY] = [{"metadata": {}}, {"status": {"conditions": []}}, PROGRAMMED]
    assert rollout.wait_address(client, "gateway") == "203.0.113.7"


def test_gateway_without_an_address(cluster: Cluster, client: kubernetes.client.ApiClient) -> None:
    waiting = {"type": "Programmed", "status": "False", "message": "certificate is pending"}
    cluster.answers[GATEWAY] = [{"status": {"conditions": [waiting]}}]
    with pytest.raises(CommandError, match="not programmed: certificate is pending"):
        rollout.wait_address(client, "gateway")


def test_cluster_that_does_not_run(cluster: Cluster) -> None:
    cluster.runs("PROVISIONING")
    with pytest.raises(CommandError, match="is PROVISIONING, not RUNNING"):
        rollout.connect(STAGING, cluster.manager)


def test_cluster_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(CommandError, match=r"clusters/sales-forecast: 404.*is staging-cluster deployed"):
        rollout.connect(STAGING, cluster.manager)
