"""What Google has for an environment against what it needs: quotas of its region, ranges of addresses."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final, NamedTuple

import google.auth
from google.api_core.exceptions import Forbidden, GoogleAPICallError
from google.api_core.retry import Retry, if_transient_error
from google.cloud.compute_v1.services.networks import NetworksClient
from google.cloud.compute_v1.services.regions import RegionsClient
from google.cloud.compute_v1.services.subnetworks import SubnetworksClient
from google.cloud.compute_v1.types import ListPeeringRoutesNetworksRequest, Quota, Subnetwork
from google.cloud.container_v1 import ClusterManagerClient
from google.cloud.container_v1.types import Cluster

from infra.environment import PLATFORM, Environment
from infra.environment.addresses import AddressPlan
from infra.environment.cluster import NODE_DISK_GB
from infra.environment.project import ExistingNetwork
from scripts.command import CommandError
from scripts.deployment.access import SCOPES

# Of Airflow's processes in Google's own network, which a network must not use.
# https://cloud.google.com/composer/docs/composer-3/configure-private-ip
_COMPOSER: Final = IPv4Network("100.64.128.0/20")


def is_disabled(error: object) -> bool:
    """Whether Google refuses a request, since a project does not have the API."""
    return isinstance(error, GoogleAPICallError) and error.reason == "SERVICE_DISABLED"


def _is_passing(error: Exception) -> bool:
    """An API that was just enabled is refused for a minute or two."""
    return if_transient_error(error) or is_disabled(error)


_RETRY: Final = Retry(predicate=_is_passing, initial=1, maximum=10, timeout=120)


class _Range(NamedTuple):
    """A range of addresses that is taken, and by what in which network."""

    block: IPv4Network
    network: str
    owner: str


class _Google:
    """Google's APIs as the caller, who pays for the requests with the environment's project."""

    def __init__(self, target: Environment) -> None:
        self._login, _ = google.auth.default(scopes=SCOPES, quota_project_id=target.project_id)
        self._target = target

    def quotas(self) -> Sequence[Quota]:
        client = RegionsClient(credentials=self._login)
        return client.get(project=self._target.project_id, region=self._target.region, retry=_RETRY).quotas

    def clusters(self) -> Sequence[Cluster]:
        client = ClusterManagerClient(credentials=self._login, transport="rest")
        parent = f"projects/{self._target.project_id}/locations/-"
        try:
            return client.list_clusters(parent=parent).clusters
        except Forbidden as error:
            if is_disabled(error):
                return ()  # without the API, there is none
            raise

    def subnets(self, project: str) -> list[Subnetwork]:
        scopes = SubnetworksClient(credentials=self._login).aggregated_list(project=project, retry=_RETRY)
        return [each for _, scope in scopes for each in scope.subnetworks]

    def peers(self, project: str) -> Iterator[_Range]:
        """Subnets of the networks that those of a project are connected with."""
        client = NetworksClient(credentials=self._login)
        for network in client.list(project=project, retry=_RETRY):
            for peering in (each for each in network.peerings if each.state == "ACTIVE"):
                request = ListPeeringRoutesNetworksRequest(
                    project=project,
                    network=network.name,
                    peering_name=peering.name,
                    direction="INCOMING",
                    region=self._target.region,
                )
                for route in client.list_peering_routes(request=request, retry=_RETRY):
                    # Others may be wide, as a company's 10.0.0.0/8: a subnet goes before them.
                    if route.type_ == "SUBNET_PEERING_ROUTE" and ":" not in route.dest_range:
                        owner = f"the peering {peering.name} of {network.name}"
                        yield _Range(IPv4Network(route.dest_range), network.name, owner)


def quotas(target: Environment) -> str:
    """The region's quotas suffice for the environment at its largest, and the cluster's first, passing nodes.

    Once the environment's cluster is there, what is in use counts as its own.
    """
    needed = target.most_cpus
    if target.cluster:
        zones = len(target.zones)
        needed["SSD_TOTAL_GB"] = (target.cluster.most_nodes(zones) + zones) * NODE_DISK_GB
    if target.gateway:  # machines have no address, and those of Cloud NAT do not count
        needed |= Counter(STATIC_ADDRESSES=1, IN_USE_ADDRESSES=1)
    google = _Google(target)
    exists = target.cluster_name in (each.name for each in google.clusters())
    free = {each.metric: each.limit - (0 if exists else each.usage) for each in google.quotas()}
    short = [
        f"{name}: have {free[name]:.0f}, need {need}"
        for name, need in needed.items()
        if free.get(name, need) < need
    ]
    if short:
        page = f"https://console.cloud.google.com/iam-admin/quotas?project={target.project_id}"
        raise CommandError(f"{'; '.join(short)}: ask for more at {page}, or lower max_nodes or max_workers")
    enough = [f"{name} {need} of {free[name]:.0f}" for name, need in needed.items() if name in free]
    return ", ".join(enough) or "none is needed"


def ranges(target: Environment) -> str:
    """No network in sight has the environment's addresses; one that exists has what it takes."""
    google = _Google(target)
    given = target.existing.network
    project = given.project_id if given else target.project_id
    subnets = google.subnets(project)
    if not given and any(_last(each.network) == PLATFORM for each in subnets):
        return "the network exists"
    taken = [*_of_subnets(subnets), *google.peers(project)]
    if given:
        return _suffices(target, given, subnets, taken)
    taken += [
        _Range(IPv4Network(each.cluster_ipv4_cidr), each.network, f"the cluster {each.name}")
        for each in google.clusters()
        if not each.ip_allocation_policy.use_ip_aliases  # of others, the ranges are in the subnets
    ]
    if target.network and (have := _overlaps(taken, target.network)):
        raise CommandError(
            f"network: need {target.network}, have {have}: such networks can never be connected; "
            f"take another block in {target.name}.tfvars, or delete those"
        )
    return f"{target.network} is free"


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _of_subnets(subnets: Iterable[Subnetwork]) -> Iterator[_Range]:
    for subnet in subnets:
        for block in (subnet.ip_cidr_range, *(each.ip_cidr_range for each in subnet.secondary_ip_ranges)):
            if block:  # a subnet may have IPv6 alone
                yield _Range(IPv4Network(block), _last(subnet.network), f"the subnet {subnet.name}")


def _overlaps(taken: Iterable[_Range], block: IPv4Network) -> str:
    return ", ".join(f"{each.block} of {each.owner}" for each in taken if block.overlaps(each.block))


def _suffices(
    target: Environment, given: ExistingNetwork, subnets: Iterable[Subnetwork], taken: Iterable[_Range]
) -> str:
    """What the environment's file says of a network is there, and has room."""
    region = [
        each for each in subnets if _last(each.network) == given.name and _last(each.region) == target.region
    ]
    subnet = next((each for each in region if each.name == given.subnet), Subnetwork())
    found = {each.range_name: IPv4Network(each.ip_cidr_range) for each in subnet.secondary_ip_ranges}
    if not {given.pods, given.services} <= found.keys():
        need = f"the subnet {given.subnet} with the ranges {given.pods} and {given.services}"
        have = [*found] if subnet.name else [each.name for each in region]
        raise CommandError(
            f"{given.name} of {given.project_id}, {target.region}: need {need}, "
            f"have {', '.join(have) or 'none'}: ask its owners, or correct existing.network"
        )
    nodes = IPv4Network(subnet.ip_cidr_range)
    plan = AddressPlan(nodes, found[given.pods], found[given.services], given.proxy_only)
    need = target.cluster.most_nodes(len(target.zones)) if target.cluster else 0
    faults: list[str] = []
    if plan.most_nodes < need:
        faults.append(
            f"need room for {need} nodes, have {plan.most_nodes}: ask for larger ranges of {given.subnet}"
        )
    proxies = [each.ip_cidr_range for each in region if each.purpose == "REGIONAL_MANAGED_PROXY"]
    if target.gateway and str(given.proxy_only) not in proxies:
        have = ", ".join(proxies) or "none"
        faults.append(
            f"need the proxy-only subnet {given.proxy_only}, have {have}: correct proxy_only, or ask for it"
        )
    others = _overlaps((each for each in taken if each.network == given.name), _COMPOSER)
    if "orchestration" in target.stacks and others:
        remedy = "set composer_internal_ipv4_cidr_block in infra/google/composer.py"
        faults.append(f"need {_COMPOSER} for Composer, have {others}: {remedy}")
    if faults:
        raise CommandError("; ".join(faults))
    return f"{given.subnet} has room for {plan.most_nodes} nodes, need {need}"
