"""State of the services in an environment's cluster, for `scripts/verify`."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

import kubernetes.client
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.container_v1 import ClusterManagerClient
from google.cloud.container_v1.types import Cluster

from infra.environment import PLATFORM, Environment
from scripts.command import CommandError
from scripts.deployment.access import check_login

PATIENCE_SECONDS: Final = float(os.environ.get("VERIFY_SECONDS", "300"))
"""Most seconds to wait for a rollout, and for the load balancer of a new Gateway."""

_POLL_SECONDS: Final = 2.0


def connect(target: Environment, clusters: ClusterManagerClient) -> kubernetes.client.ApiClient:
    """A client of the environment's cluster, at its DNS endpoint, with gcloud's credentials.

    Raises:
        CommandError: the cluster is absent, not running, or not visible to this account.
        GoogleAuthError: gcloud is not logged in.
    """
    name = f"projects/{target.project_id}/locations/{target.region}/clusters/{target.cluster_name}"
    try:
        cluster = clusters.get_cluster(name=name)
    except GoogleAPICallError as error:
        raise CommandError(f"{name}: {error}; is {target.name}-cluster deployed, may you see it?") from None
    if cluster.status != Cluster.Status.RUNNING:
        raise CommandError(f"{name} is {cluster.status.name}, not RUNNING: {cluster.status_message}")
    address = cluster.control_plane_endpoints_config.dns_endpoint_config.endpoint
    return kubernetes.client.ApiClient(
        kubernetes.client.Configuration(
            host=f"https://{address}",
            api_key={"authorization": str(check_login().token)},
            api_key_prefix={"authorization": "Bearer"},
        )
    )


def wait_rolled_out(cluster: kubernetes.client.ApiClient, name: str) -> str:
    """Wait until all pods of a Deployment are updated and available, or CommandError; returns how many."""
    apps = kubernetes.client.AppsV1Api(cluster)
    look = f"`kubectl --namespace {PLATFORM} describe deployment {name}` and the logs of its pods"

    def state() -> tuple[bool, str]:
        deployment: Any = apps.read_namespaced_deployment(name, PLATFORM)
        status, wanted = deployment.status, deployment.spec.replicas
        for each in status.conditions or ():
            if each.reason == "ProgressDeadlineExceeded":
                raise CommandError(f"the rollout of {name} does not progress: {each.message}; look at {look}")
        pods = [status.replicas or 0, status.updated_replicas or 0, status.available_replicas or 0]
        if (status.observed_generation or 0) >= deployment.metadata.generation and pods == [wanted] * 3:
            return True, f"{wanted} available"
        return False, f"{pods[1]} of {wanted} pods updated, {pods[2]} available"

    return _wait(f"deployment {name}", state, look)


def wait_address(cluster: kubernetes.client.ApiClient, name: str) -> str:
    """Wait until a Gateway has a load balancer, or CommandError; returns its address."""
    objects = kubernetes.client.CustomObjectsApi(cluster)
    look = f"`kubectl --namespace {PLATFORM} describe gateway {name}`"

    def state() -> tuple[bool, str]:
        gateway: Any = objects.get_namespaced_custom_object(
            "gateway.networking.k8s.io", "v1", PLATFORM, "gateways", name
        )
        status = gateway.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        programmed = conditions.get("Programmed", {})
        if programmed.get("status") == "True" and status.get("addresses"):
            return True, str(status["addresses"][0]["value"])
        return False, f"it is not programmed: {programmed.get('message', 'no controller has seen it')}"

    return _wait(f"gateway {name}", state, look)


def _wait(what: str, state: Callable[[], tuple[bool, str]], look: str) -> str:
    """Ask until it is there or the time is up; returns what is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            there, found = state()
        except kubernetes.client.ApiException as error:
            raise CommandError(f"{what}: {error.status} {error.reason}; look at {look}") from None
        except urllib3.exceptions.HTTPError as error:
            raise CommandError(f"{what}: the cluster does not answer: {error}") from None
        if there:
            return found
        if time.monotonic() > deadline:
            raise CommandError(f"{what}: after {PATIENCE_SECONDS:.0f} s {found}; look at {look}")
        time.sleep(_POLL_SECONDS)
