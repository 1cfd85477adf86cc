"""The address plan."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.addresses import LONGEST_PREFIX, AddressPlan


def block_of(prefix: int, second: int) -> IPv4Network:
    return IPv4Network(f"10.{second}.0.0/{prefix}", strict=False)


BLOCKS = st.builds(block_of, st.integers(8, LONGEST_PREFIX), st.integers(0, 255))


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


def test_too_small_a_block() -> None:
    with pytest.raises(ValueError, match="smaller than a /19"):
        AddressPlan.carve(IPv4Network("10.0.0.0/20"))
