"""The tests' Compute Engine and Kubernetes Engine APIs speak as Google's do, to Google's own clients."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.cloud.compute_v1.services.networks import NetworksClient
from google.cloud.compute_v1.types import (
    ExchangedPeeringRoutesList,
    NetworkList,
    Region,
    SubnetworkAggregatedList,
)
from google.cloud.container_v1.types import ListClustersResponse
from google.oauth2.credentials import Credentials

from infra.simulator import inventory
from tests import google_apis

COMPUTE = "/compute/v1/projects/p"
NETWORK = "projects/p/global/networks/"
ROUTES = f"{COMPUTE}/global/networks/a/listPeeringRoutes"
PLACE = {"project": "p", "location": "europe-west1", "region": "europe-west1"}


@pytest.fixture(autouse=True)
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks that are connected, a subnet in each, a cluster."""
    monkeypatch.setenv("SIMULATOR_HOME", str(tmp_path))
    for name, peer in (("a", "b"), ("b", "a")):
        inventory.record("google_compute_network", {"id": NETWORK + name, "name": name, **PLACE})
        inventory.record(
            "google_compute_network_peering",
            {"id": name, "name": f"to-{peer}", "network": NETWORK + name, "peer_network": NETWORK + peer},
        )
        inventory.record(
            "google_compute_subnetwork",
            {
                "id": f"subnet-{name}",
                "name": f"subnet-{name}",
                "network": NETWORK + name,
                "ip_cidr_range": "10.0.0.0/24",
                "secondary_ip_range": [{"range_name": "pods", "ip_cidr_range": "10.1.0.0/16"}],
                **PLACE,
            },
        )
    inventory.record(
        "google_container_cluster",
        {
            "id": "c",
            "name": "c",
            "network": NETWORK + "a",
            "cluster_ipv4_cidr": "10.1.0.0/16",
            "networking_mode": "VPC_NATIVE",
            **PLACE,
        },
    )


def get(path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body of a request with a token."""
    token = {"Authorization": "Bearer token"} if headers is None else headers
    request = urllib.request.Request(f"http://{google_apis.address()}{path}", headers=dict(token))
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310 -- the address is this process's own
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("path", "message", "filled"),
    [
        (f"{COMPUTE}/regions/europe-west1", Region, "quotas"),
        (f"{COMPUTE}/global/networks", NetworkList, "items"),
        (f"{COMPUTE}/aggregated/subnetworks", SubnetworkAggregatedList, "items"),
        (
            f"{ROUTES}?direction=INCOMING&peeringName=to-b&region=europe-west1",
            ExchangedPeeringRoutesList,
            "items",
        ),
        ("/v1/projects/p/locations/-/clusters", ListClustersResponse, "clusters"),
    ],
)
def test_fields_are_those_of_google(path: str, message: Any, filled: str) -> None:
    """The clients pass over fields that they do not know; here these are faults."""
    status, body = get(path)
    assert status == 200
    assert getattr(message.from_json(body, ignore_unknown_fields=False), filled)


@pytest.mark.parametrize(
    ("path", "status", "reason", "says"),
    [
        (f"{COMPUTE}/global/networks?direction=INCOMING", 400, "invalid", 'Unknown name "direction"'),
        (f"{COMPUTE}/global/networks?maxResults=501", 400, "invalid", "less than or equal to 500"),
        (ROUTES, 400, "required", "'direction' not specified"),
        (
            f"{ROUTES}?direction=BOTH&peeringName=to-b&region=europe-west1",
            400,
            "invalid",
            "'direction': 'BOTH'",
        ),
        (
            f"{ROUTES}?direction=INCOMING&peeringName=x&region=europe-west1",
            400,
            "invalid",
            "There is no peering x",
        ),
        (
            f"{COMPUTE}/global/networks/x/listPeeringRoutes",
            404,
            "notFound",
            f"'{NETWORK}x' was not found",
        ),
    ],
)
def test_refusals_are_those_of_google(path: str, status: int, reason: str, says: str) -> None:
    found, body = get(path)
    error = json.loads(body)["error"]
    assert (found, error["code"], error["errors"][0]["reason"]) == (status, status, reason)
    assert says in error["message"]


def test_whoever_asks_is_known_and_pays() -> None:
    path = f"{COMPUTE}/regions/europe-west1"
    assert get(path, headers={})[0] == 401
    inventory.record("google_project_service", {"id": "1", "project": "payer", "service": "x.googleapis.com"})
    status, body = get(path, {"Authorization": "Bearer token", "X-Goog-User-Project": "payer"})
    assert status == 403
    [info] = json.loads(body)["error"]["details"]
    assert (info["reason"], info["metadata"]["consumer"]) == ("SERVICE_DISABLED", "projects/payer")


def test_a_list_has_pages() -> None:
    options = ClientOptions(api_endpoint=f"http://{google_apis.address()}")
    client = NetworksClient(credentials=Credentials("token"), client_options=options)
    pages = list(client.list(request={"project": "p", "max_results": 1}).pages)
    assert sorted([each.name for each in page.items] for page in pages) == [["a"], ["b"]]


def test_a_connection_takes_both_sides() -> None:
    inventory.vanish("google_compute_network_peering", "b")
    path = f"{ROUTES}?direction=INCOMING&peeringName=to-b&region=europe-west1"
    assert json.loads(get(path)[1])["items"] == []
    [network] = [
        each for each in json.loads(get(f"{COMPUTE}/global/networks")[1])["items"] if each["name"] == "a"
    ]
    assert network["peerings"][0]["state"] == "INACTIVE"
