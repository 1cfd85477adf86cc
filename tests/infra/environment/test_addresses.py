"""The address plan."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.environment.addresses import LONGEST_PREFIX, PODS_PER_NODE, AddressPlan

PRIVATE = [IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


@st.composite
def blocks(draw: st.DrawFn) -> IPv4Network:
    """Any block that a network may have."""
    around = draw(st.sampled_from(PRIVATE))
    address = around[draw(st.integers(0, around.num_addresses - 1))]
    prefix = draw(st.integers(around.prefixlen, LONGEST_PREFIX))
    return IPv4Network((address, prefix), strict=False)


BLOCKS = blocks()


@given(BLOCKS)
def test_ranges_are_apart_and_inside_the_block(block: IPv4Network) -> None:
    plan = AddressPlan.carve(block)
    ranges = (plan.nodes, plan.pods, plan.services, plan.proxy_only)
    assert all(each.subnet_of(block) for each in ranges)
    assert not any(one.overlaps(other) for one, other in combinations(ranges, 2))
    assert plan.proxy_only.prefixlen <= 26


@given(BLOCKS)
def test_all_nodes_find_room(block: IPv4Network) -> None:
    plan = AddressPlan.carve(block)
    # https://cloud.google.com/kubernetes-engine/docs/concepts/alias-ips#node_cidr_ranges
    assert PODS_PER_NODE == 110
    assert plan.most_nodes * 256 <= plan.pods.num_addresses
    assert plan.most_nodes <= plan.nodes.num_addresses - 4
    assert plan.most_nodes >= 1


def test_a_block_of_the_usual_size() -> None:
    plan = AddressPlan.carve(IPv4Network("10.16.0.0/16"))
    assert plan == AddressPlan(
        nodes=IPv4Network("10.16.0.0/20"),
        services=IPv4Network("10.16.16.0/20"),
        proxy_only=IPv4Network("10.16.32.0/23"),
        pods=IPv4Network("10.16.128.0/17"),
    )
    assert plan.most_nodes == 128


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("10.0.0.0/20", "expected a block of at least /19"),
        ("8.8.0.0/16", "expected a private block"),
        ("127.0.0.0/16", "expected a private block"),
        ("100.64.0.0/16", "expected a private block"),  # shared by carriers, and by Composer
        ("192.168.0.0/15", "expected a private block"),
    ],
)
def test_a_block_that_no_network_can_have(block: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AddressPlan.carve(IPv4Network(block, strict=False))
