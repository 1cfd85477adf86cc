"""Google's Compute Engine and Kubernetes Engine APIs, as far as a deployment is prepared with them.

They answer from the inventory of the simulated cloud, in a thread of the process that asks. Requests are
refused as Google refuses them: without a token, of an API that is not enabled, with parameters that do not
exist.
https://cloud.google.com/compute/docs/reference/rest/v1,
https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1
"""

import contextlib
import functools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import google.auth
from google.cloud.compute_v1.services.networks import NetworksClient
from google.cloud.compute_v1.services.regions import RegionsClient
from google.cloud.compute_v1.services.subnetworks import SubnetworksClient
from google.cloud.container_v1 import ClusterManagerClient
from google.oauth2.credentials import Credentials

from infra.simulator import inventory
from infra.simulator.emulators import HOST
from infra.simulator.resources import Values

_Query = Mapping[str, str]
_SELF: Final = "https://www.googleapis.com/compute/v1/"
_LARGEST_PAGE: Final = 500
_PAGES: Final = ("maxResults", "pageToken", "returnPartialSuccess")
# Of every method: https://cloud.google.com/apis/docs/system-parameters
_SYSTEM: Final = ("$alt", "alt", "fields", "key", "prettyPrint", "quotaUser")
# As in a new project; Google grants others by quota preferences.
_LIMITS: Final = {
    **dict.fromkeys(("CPUS", "C3_CPUS", "N2_CPUS", "N2D_CPUS", "N4_CPUS", "T2D_CPUS"), 24),
    "IN_USE_ADDRESSES": 8,
    "SSD_TOTAL_GB": 500,
    "STATIC_ADDRESSES": 8,
}


class _RefusedError(Exception):
    """Google's answer to a request that it does not serve."""

    def __init__(self, code: int, status: str, reason: str, message: str, *details: Values) -> None:
        super().__init__(message)
        errors = [{"message": message, "domain": "global", "reason": reason}]
        error = {"code": code, "message": message, "status": status, "errors": errors}
        self.code: Final = code
        self.body: Final = {"error": error | ({"details": [*details]} if details else {})}


def _not_found(resource: str) -> _RefusedError:
    return _RefusedError(404, "NOT_FOUND", "notFound", f"The resource '{resource}' was not found")


def _invalid(message: str) -> _RefusedError:
    return _RefusedError(400, "INVALID_ARGUMENT", "invalid", message)


def _of(type_name: str, project: str) -> Iterator[Values]:
    return (each for each in inventory.all_of(type_name) if each["project"] == project)


def _page(found: list[Values], query: _Query) -> tuple[list[Values], Values]:
    """What belongs on a page, and the token of the next one."""
    size = int(query.get("maxResults") or _LARGEST_PAGE)
    if size > _LARGEST_PAGE:
        expected = f"Must be less than or equal to {_LARGEST_PAGE}"
        raise _invalid(f"Invalid value for field 'maxResults': '{size}'. {expected}")
    first = int(query.get("pageToken") or 0)
    more = {"nextPageToken": str(first + size)} if first + size < len(found) else {}
    return found[first : first + size], more


def _region(query: _Query, project: str, region: str) -> Values:
    usage: Counter[str] = Counter()
    for pool in _of("google_container_node_pool", project):
        if pool["location"] == region:
            [node] = pool["node_config"]
            in_zone = pool["node_count"] or pool["initial_node_count"] or 0
            nodes = in_zone * max(1, len(pool["node_locations"] or ()))
            family, _, size = node["machine_type"].partition("-")
            cpus = size.rpartition("-")[2]
            metric = "CPUS" if family in ("e2", "n1") else f"{family.upper()}_CPUS"
            usage[metric] += nodes * (int(cpus) if cpus.isdigit() else 2)
            usage["SSD_TOTAL_GB"] += nodes * node["disk_size_gb"]
    for address in _of("google_compute_address", project):
        usage["STATIC_ADDRESSES"] += address["region"] == region and address["address_type"] == "EXTERNAL"
    limits = dict(_LIMITS)
    for each in inventory.all_of("google_cloud_quotas_quota_preference"):
        metric = each["quota_id"].removesuffix("-per-project-region").replace("-", "_")
        if each["parent"] == f"projects/{project}" and (each["dimensions"] or {}).get("region") == region:
            limits[metric] = int(each["quota_config"][0]["preferred_value"])
    path = f"{_SELF}projects/{project}/regions/{region}"
    quotas = [{"metric": name, "limit": limit, "usage": usage[name]} for name, limit in limits.items()]
    return {"kind": "compute#region", "name": region, "status": "UP", "selfLink": path, "quotas": quotas}


def _networks(query: _Query, project: str) -> Values:
    found = [
        {
            "kind": "compute#network",
            "name": each["name"],
            "selfLink": f"{_SELF}{each['id']}",
            "autoCreateSubnetworks": bool(each.get("auto_create_subnetworks")),
        }
        | ({"peerings": peerings} if (peerings := [*map(_peering, _peerings_of(each["id"]))]) else {})
        for each in _of("google_compute_network", project)
    ]
    items, more = _page(found, query)
    return {"kind": "compute#networkList", "id": f"projects/{project}/global/networks", "items": items} | more


def _peerings_of(network: str) -> list[Values]:
    return [
        each
        for each in inventory.all_of("google_compute_network_peering")
        if each["network"].removeprefix(_SELF) == network
    ]


def _peer_of(peering: Values) -> str:
    return peering["peer_network"].removeprefix(_SELF)


def _is_active(peering: Values) -> bool:
    """Whether the other network is peered with this one, too."""
    network = peering["network"].removeprefix(_SELF)
    return any(_peer_of(each) == network for each in _peerings_of(_peer_of(peering)))


def _peering(values: Values) -> Values:
    return {
        "name": values["name"],
        "network": f"{_SELF}{_peer_of(values)}",
        "state": "ACTIVE" if _is_active(values) else "INACTIVE",
        "exchangeSubnetRoutes": True,
    }


def _peering_routes(query: _Query, project: str, network: str) -> Values:
    path = f"projects/{project}/global/networks/{network}"
    if not inventory.exists("google_compute_network", path):
        raise _not_found(path)
    for name in ("direction", "peeringName", "region"):
        if name not in query:
            message = f"Required parameter '{name}' not specified"
            raise _RefusedError(400, "INVALID_ARGUMENT", "required", message)
    if query["direction"] not in ("INCOMING", "OUTGOING"):
        raise _invalid(f"Invalid value for field 'direction': '{query['direction']}'")
    peering = next((each for each in _peerings_of(path) if each["name"] == query["peeringName"]), None)
    if peering is None:
        raise _invalid(f"There is no peering {query['peeringName']} on network {network}")
    source = _peer_of(peering) if query["direction"] == "INCOMING" else path
    routes = [
        {"destRange": block, "type": "SUBNET_PEERING_ROUTE", "priority": 0, "imported": True}
        for each in inventory.all_of("google_compute_subnetwork")
        if each["network"].removeprefix(_SELF) == source and _is_active(peering)
        for block in (each["ip_cidr_range"], *(one["ip_cidr_range"] for one in _secondary(each)))
        if block
    ]
    items, more = _page(routes, query)
    return {"kind": "compute#exchangedPeeringRoutesList", "items": items} | more


def _secondary(subnetwork: Values) -> list[Values]:
    return subnetwork.get("secondary_ip_range") or []


def _subnetworks(query: _Query, project: str) -> Values:
    items: dict[str, Values] = {}
    page, more = _page([*_of("google_compute_subnetwork", project)], query)
    for each in page:
        place = f"regions/{each['region']}"
        subnetwork = {
            "kind": "compute#subnetwork",
            "name": each["name"],
            "region": f"{_SELF}projects/{project}/{place}",
            "network": f"{_SELF}{each['network'].removeprefix(_SELF)}",
            "purpose": each.get("purpose") or "PRIVATE",
            "secondaryIpRanges": [
                {"rangeName": one["range_name"], "ipCidrRange": one["ip_cidr_range"]}
                for one in _secondary(each)
            ],
        }
        block = {"ipCidrRange": each["ip_cidr_range"]} if each["ip_cidr_range"] else {}  # others are of IPv6
        items.setdefault(place, {"subnetworks": []})["subnetworks"].append(subnetwork | block)
    return {"kind": "compute#subnetworkAggregatedList", "items": items} | more


def _clusters(query: _Query, project: str, location: str) -> Values:
    return {
        "clusters": [
            {
                "name": each["name"],
                "location": each["location"],
                "network": each["network"].rpartition("/")[2],
                "status": "RUNNING",
                "clusterIpv4Cidr": each["cluster_ipv4_cidr"] or "",
                "ipAllocationPolicy": {"useIpAliases": each["networking_mode"] != "ROUTES"},
            }
            for each in _of("google_container_cluster", project)
            if location in ("-", each["location"])
        ]
    }


_COMPUTE: Final = r"/compute/v1/projects/(?P<project>[^/]+)"
# Path of a method -> its API, the parameters that it knows, its answer
_METHODS: Final[Mapping[str, tuple[str, tuple[str, ...], Callable[..., Values]]]] = {
    rf"{_COMPUTE}/regions/(?P<region>[^/]+)": ("compute", (), _region),
    rf"{_COMPUTE}/global/networks": ("compute", _PAGES, _networks),
    rf"{_COMPUTE}/global/networks/(?P<network>[^/]+)/listPeeringRoutes": (
        "compute",
        (*_PAGES, "direction", "peeringName", "region"),
        _peering_routes,
    ),
    rf"{_COMPUTE}/aggregated/subnetworks": ("compute", (*_PAGES, "includeAllScopes"), _subnetworks),
    r"/v1/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/clusters": ("container", (), _clusters),
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer a request in Google's JSON."""
        try:
            status, body = 200, self._answer()
        except _RefusedError as error:
            status, body = error.code, error.body
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self) -> Values:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        for pattern, (api, parameters, method) in _METHODS.items():
            if found := re.fullmatch(pattern, url.path):
                self._admit(api, found["project"])
                if unknown := query.keys() - {*parameters, *_SYSTEM}:
                    name = min(unknown)
                    raise _invalid(
                        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                        f"Field '{name}' could not be found in request message."
                    )
                return method(query, **found.groupdict())
        raise _not_found(url.path)

    def _admit(self, api: str, project: str) -> None:
        """Check that somebody asks, and that the project which pays for the request has the API."""
        if not self.headers.get("Authorization", "").startswith("Bearer "):
            message = "Request is missing required authentication credential. Expected OAuth 2 access token."
            raise _RefusedError(401, "UNAUTHENTICATED", "required", message)
        consumer = self.headers.get("X-Goog-User-Project", project)
        service = f"{api}.googleapis.com"
        if not inventory.is_enabled(service, consumer):
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
            place = {
                "domain": "googleapis.com",
                "metadata": {"service": service, "consumer": f"projects/{consumer}"},
            }
            message = f"{service} has not been used in project {consumer} before or it is disabled."
            raise _RefusedError(403, "PERMISSION_DENIED", "accessNotConfigured", message, info | place)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Whoever asks tells what is wrong."""


@functools.cache
def address() -> str:
    """`host:port` of the APIs, which this process serves from the first call on."""
    server = ThreadingHTTPServer((HOST, 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{HOST}:{server.server_port}"


def _default(scopes: Sequence[str], quota_project_id: str | None = None) -> tuple[Credentials, None]:
    return Credentials("token", quota_project_id=quota_project_id), None


@contextlib.contextmanager
def asked() -> Generator[None]:
    """Google's clients ask these APIs, as somebody who is logged in, until the block ends."""
    with contextlib.ExitStack() as stack:
        for client in (NetworksClient, RegionsClient, SubnetworksClient, ClusterManagerClient):
            template = mock.patch.object(client, "_DEFAULT_ENDPOINT_TEMPLATE", f"http://{address()}")
            stack.enter_context(template)
        stack.enter_context(mock.patch.object(google.auth, "default", _default))
        stack.enter_context(mock.patch.object(Credentials, "refresh"))
        yield
