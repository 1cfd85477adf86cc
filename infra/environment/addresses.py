"""The address plan: all ranges of the network, computed from one block so that they cannot overlap."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice
from typing import Final, Self

LONGEST_PREFIX: Final = 19
"""Longest prefix of the block: load balancer proxies need a /26, and get a 128th of the block."""

PODS_PER_NODE: Final = 110
"""Most pods per node: GKE's default."""

# A node gets a block of at least twice as many addresses as pods, so that addresses are not reused soon:
# https://cloud.google.com/kubernetes-engine/docs/concepts/alias-ips#node_cidr_ranges
_NODE_PODS_PREFIX: Final = 32 - (2 * PODS_PER_NODE - 1).bit_length()

_PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918

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
        """Split a block: half for pods, a sixteenth each for nodes and services, a 128th for proxies.

        A ValueError says that the block is not private, or too small.
        """
        if not any(block.subnet_of(private) for private in _PRIVATE):
            raise ValueError(f"expected a private block (RFC 1918), found {block}")
        if block.prefixlen > LONGEST_PREFIX:
            raise ValueError(f"expected a block of at least /{LONGEST_PREFIX}, found {block}")
        _, pods = block.subnets(prefixlen_diff=1)
        nodes, services, edge = islice(block.subnets(prefixlen_diff=4), 3)
        return cls(nodes=nodes, pods=pods, services=services, proxy_only=next(edge.subnets(prefixlen_diff=3)))

    @property
    def most_nodes(self) -> int:
        """Most nodes that get an address and a block for their pods."""
        return min(self.nodes.num_addresses - _RESERVED, 2 ** (_NODE_PODS_PREFIX - self.pods.prefixlen))
