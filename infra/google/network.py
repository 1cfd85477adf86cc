"""The network: a VPC, subnets for nodes and load balancers, and Cloud NAT for machines without an address."""

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.environment.addresses import AddressPlan
from infra.environment.project import ExistingNetwork

GOOGLE_APIS: Final = "199.36.153.8/30"
"""Addresses of Google's APIs for private networks: https://cloud.google.com/vpc/docs/configure-private-google-access"""

ANYWHERE: Final = "0.0.0.0/0"


class Network(Construct):
    """A network in one region: an existing one, or else one of its own.

    It has no firewall rule of its own. A VPC denies incoming traffic by default, and GKE maintains the rules
    for what the cluster needs: kubelets, health checks, load balancer proxies.

    Args:
        ranges: the network that exists, or the ranges of the one to make.

    Attributes:
        pods: name of the nodes' range for pods.
        services: name of the nodes' range for Services.
        proxy_only: range of the load balancers.
        google_apis: addresses that Google's APIs have in it; in somebody else's nobody here knows them.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        ranges: ExistingNetwork | AddressPlan,
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        project, name, subnet = place.project_id, place.platform, f"{place.platform}-nodes"
        self.pods, self.services, self.google_apis = "pods", "services", GOOGLE_APIS
        self.proxy_only: Final = ranges.proxy_only
        if isinstance(ranges, ExistingNetwork):
            project, name, subnet = ranges.project_id, ranges.name, ranges.subnet
            self.pods, self.services, self.google_apis = ranges.pods, ranges.services, ANYWHERE
        else:
            self._create(ranges, after)
        self.path: Final = f"projects/{project}/global/networks/{name}"
        self.subnet: Final = f"projects/{project}/regions/{place.region}/subnetworks/{subnet}"

    def _create(self, addresses: AddressPlan, after: Sequence[TerraformResource]) -> None:
        place = place_of(self)
        network = google.compute_network.ComputeNetwork(
            self,
            "Default",
            name=place.platform,
            auto_create_subnetworks=False,  # they would be in every region, with ranges that Google chooses
            depends_on=after,
        )
        waive(network, {"CKV2_GCP_18": "what no rule allows is refused; GKE makes the rules it needs"})
        google.compute_subnetwork.ComputeSubnetwork(
            self,
            "nodes",
            name=f"{place.platform}-nodes",
            network=network.id,
            region=place.region,
            ip_cidr_range=str(addresses.nodes),
            secondary_ip_range=[
                {"range_name": self.pods, "ip_cidr_range": str(addresses.pods)},
                {"range_name": self.services, "ip_cidr_range": str(addresses.services)},
            ],
            private_ip_google_access=True,  # reach Google's APIs without the internet
            # Enough to see who talks to whom. Logs are billed by volume; this is a fifth of the default.
            log_config={
                "flow_sampling": 0.1,
                "aggregation_interval": "INTERVAL_30_SEC",
                "metadata": "INCLUDE_ALL_METADATA",
            },
        )
        google.compute_subnetwork.ComputeSubnetwork(
            self,
            "proxy-only",
            name=f"{place.platform}-proxy-only",
            network=network.id,
            region=place.region,
            ip_cidr_range=str(addresses.proxy_only),
            purpose="REGIONAL_MANAGED_PROXY",  # of the regional load balancers
            role="ACTIVE",
        )
        self._name_google_apis(network, after)
        router = google.compute_router.ComputeRouter(
            self, "router", name=f"{place.platform}-router", network=network.id, region=place.region
        )
        google.compute_router_nat.ComputeRouterNat(
            self,
            "nat",
            name=f"{place.platform}-nat",
            router=router.name,
            region=place.region,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
            # A node gets more than 64 ports when its pods need them, instead of a fixed share.
            # https://cloud.google.com/nat/docs/ports-and-addresses#dynamic-port
            enable_dynamic_port_allocation=True,
            enable_endpoint_independent_mapping=False,  # cannot be combined with dynamic ports
            min_ports_per_vm=64,
            max_ports_per_vm=4096,
            # Errors are connections that got no port; flow logs contain the others.
            log_config={"enable": True, "filter": "ERRORS_ONLY"},
        )

    def _name_google_apis(
        self, network: google.compute_network.ComputeNetwork, after: Sequence[TerraformResource]
    ) -> None:
        """Resolve the names of Google's APIs to a few addresses, so that network policies can name them."""
        zone = google.dns_managed_zone.DnsManagedZone(
            self,
            "google-apis",
            name="google-apis",
            dns_name="googleapis.com.",
            description="Google's APIs without the internet",
            visibility="private",
            force_destroy=not place_of(self).protected,
            private_visibility_config={"networks": [{"network_url": network.id}]},
            depends_on=after,
        )
        private = "private.googleapis.com."
        for id_, name, kind, values in (
            ("addresses", private, "A", [str(each) for each in IPv4Network(GOOGLE_APIS)]),
            ("names", "*.googleapis.com.", "CNAME", [private]),
        ):
            google.dns_record_set.DnsRecordSet(
                self, id_, managed_zone=zone.name, name=name, type=kind, ttl=300, rrdatas=values
            )
