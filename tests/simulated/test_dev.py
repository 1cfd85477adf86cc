"""dev in a simulated cloud: it recovers from faults, and `scripts/diff` reports changes, drift and losses."""

import os
from collections.abc import Iterator
from unittest import mock

import httpx
import pytest

from infra.simulator import emulators
from tests.simulated.simulated_platform import SLOW, Platform, simulated

pytestmark = pytest.mark.slow

BROKEN = [
    {"type": "google_bigquery_table", "skip": 1, "error": "Error 503: backendError"},
    {"type": "google_container_node_pool", "error": "Error 403: quota exceeded"},
    {"type": "google_pubsub_subscription", "skip": 2, "error": "Error 503: backendError"},
    {"type": "kubernetes_deployment_v1", "skip": 1, "error": "the server is currently unable to handle it"},
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, synthesized; the tests below go on from each other."""
    for platform in simulated("dev", tmp_path_factory):
        platform.synthesize()
        yield platform


def test_a_second_apply_repairs_a_failed_one(platform: Platform) -> None:
    platform.inject(*SLOW, *BROKEN)
    assert set(platform.apply_all()) == {"cluster", "data", "messaging", "services"}


def test_a_plan_after_the_apply_is_empty(platform: Platform) -> None:
    assert platform.plan() == []


def test_a_change_touches_only_what_it_should(platform: Platform) -> None:
    platform.edit('email *= "[^"]*"', 'email = "somebody-else@example.com"')
    platform.edit(r"max_nodes( *)= \d+", r"max_nodes\1= 4")
    # The other stacks have no changes: their configuration is the one that the test above plans.
    assert platform.synthesize() == {"cluster", "observability"}
    status, stacks = platform.diff("foundation", "cluster", "observability")
    assert status == 2
    changed = {
        name: {(change["address"].partition(".")[0], change["action"]) for change in each["changes"]}
        for name, each in stacks.items()
        if each["outcome"] != "unchanged"
    }
    assert stacks["cluster"]["cost"] == {"what": "difference", "idle": 0, "full": 96.03}
    assert changed == {
        "cluster": {("google_container_node_pool", "update")},
        "observability": {("google_monitoring_notification_channel", "update")},
    }


def test_exactly_what_was_shown_is_applied(platform: Platform) -> None:
    shown = str(platform.folder / "shown.json")
    assert platform.script("diff", "cluster", "observability", "--json", shown).returncode == 2
    before = platform.serials()
    platform.edit(r"max_nodes( *)= 4", r"max_nodes\1= 5")
    refused = platform.script("apply", shown)
    assert refused.returncode == 1
    assert "dev-cluster: approved was: 2 to update; now it is another plan: 2 to update" in refused.stderr
    assert "Run `scripts/diff dev` again" in refused.stderr
    assert platform.serials() == before, "nothing was applied"

    platform.edit(r"max_nodes( *)= 5", r"max_nodes\1= 4")
    applied = platform.script("apply", shown)
    assert applied.returncode == 0, applied.stderr
    assert "apply dev-cluster" in applied.stdout
    assert platform.diff("cluster", "observability")[0] == 0
    again = platform.script("apply", shown)
    assert (again.returncode, again.stdout.count("no changes")) == (0, 2), "a repeated job goes on"


def test_a_change_by_hand_is_drift(platform: Platform) -> None:
    with mock.patch.dict(os.environ, platform.variables):
        bigquery = emulators.endpoints().bigquery
    path = "bigquery/v2/projects/sales-forecast-dev/datasets/sales"
    body = {"description": "by hand"}
    httpx.patch(f"http://{bigquery}/{path}", json=body, timeout=30).raise_for_status()
    status, stacks = platform.diff("data")
    assert status == 2
    [drift], [change] = stacks["data"]["drift"], stacks["data"]["changes"]
    assert drift["address"] == change["address"] == "google_bigquery_dataset.sales"
    assert drift["fields"] == ["description"]


def test_a_diff_that_loses_data_is_refused(platform: Platform) -> None:
    platform.edit("europe-west1", "europe-west4")  # nothing moves to another region
    status, stacks = platform.diff("data")
    assert status == 3
    lost = [change["address"] for change in stacks["data"]["changes"] if change["loses"]]
    kinds = {address.partition(".")[0] for address in lost}
    assert kinds == {"google_bigquery_dataset", "google_storage_bucket"}
    allowed = [f"--allow-destroy={address}" for address in lost]
    assert platform.diff("data", *allowed[1:])[0] == 3
    assert platform.diff("data", *allowed)[0] == 2


def test_nothing_is_left_after_destruction(platform: Platform) -> None:
    platform.destroy()
