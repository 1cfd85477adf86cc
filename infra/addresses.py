"""The address plan: every range of the network, computed from one block so that none can overlap."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice
from typing import Final, Self

LONGEST_PREFIX: Final = 19
"""Of the block: a load balancer's proxies need a /26, which is a 128th of it."""

# A node that may run 110 pods, GKE's default, takes a block of twice as many addresses, rounded up:
# https://cloud.google.com/kubernetes-engine/docs/concepts/alias-ips#node_cidr_ranges
_NODE_PODS_PREFIX: Final = 24

# Google reserves four addresses of a subnet: https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses
_RESERVED: Final = 4


@dataclass(frozen=True)
class AddressPlan:
    """The ranges of a network."""

    nodes: IPv4Network
    pods: IPv4Network
    services: IPv4Network
    proxy_only: IPv4Network

    @classmethod
    def carve(cls, block: IPv4Network) -> Self:
        """Cut a block up: half for pods, a sixteenth each for nodes and services, a 128th for proxies.

        Raises:
            ValueError: the prefix is longer than `LONGEST_PREFIX`.
        """
        if block.prefixlen > LONGEST_PREFIX:
            raise ValueError(f"{block} is smaller than a /{LONGEST_PREFIX}")
        _, pods = block.subnets(prefixlen_diff=1)
        nodes, services, edge = islice(block.subnets(prefixlen_diff=4), 3)
        return cls(nodes=nodes, pods=pods, services=services, proxy_only=next(edge.subnets(prefixlen_diff=3)))

    @property
    def most_nodes(self) -> int:
        """How many nodes find an address and room for their pods."""
        return min(self.nodes.num_addresses - _RESERVED, 2 ** (_NODE_PODS_PREFIX - self.pods.prefixlen))
