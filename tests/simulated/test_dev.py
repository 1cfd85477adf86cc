"""dev in a simulated cloud, from an empty project on, by the commands of `scripts/`."""

import os
import re
from collections.abc import Iterator
from unittest import mock

import httpx
import pytest

from infra.simulator import emulators
from tests.simulated.simulated_platform import Platform, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, not applied; the tests below go on from each other."""
    yield from simulated("dev", tmp_path_factory)


def test_a_faulty_file_stops_it_before_anything_starts(platform: Platform) -> None:
    file = platform.folder / "faulty.csv"
    file.write_text("date,store_nbr,family,sales\n2024-01-01,1,A,-5\n")
    process = platform.command("deploy", "--data", str(file))
    _, failed = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "row 2" in failed
    assert not (platform.home / "terraform").exists()


def test_interrupted_it_keeps_what_terraform_has_made(platform: Platform) -> None:
    platform.inject({"type": "google_bigquery_table", "seconds": 10})
    platform.interrupt_deployment("data", "google_bigquery_table")


def test_without_sales_the_first_model_stops_nothing(platform: Platform) -> None:
    platform.inject()
    platform.apply("cluster", "data", "messaging")
    platform.succeed("first_model")
    log = platform.home / "logs" / "sales-forecast.first-model.first-model.log"
    assert "no sales yet: sales-forecast-dev.sales.sales is empty" in log.read_text()


def test_resumed_it_goes_through(platform: Platform) -> None:
    printed = platform.succeed("deploy", "--data", platform.sales)
    assert "✓ load sales" in printed
    assert "✓ train the first model" in printed
    assert "✓ check the forecasts" in printed


def test_again_it_changes_nothing(platform: Platform) -> None:
    serials = platform.serials()
    printed = platform.succeed("deploy")
    assert re.search(r"load sales.* not needed: the sales until 2024-05-14 stay", printed)
    assert platform.serials() == serials


def test_a_change_touches_only_what_it_should(platform: Platform) -> None:
    platform.edit('email *= "[^"]*"', 'email = "somebody-else@example.com"')
    platform.edit(r"max_nodes( *)= \d+", r"max_nodes\1= 4")
    # The other stacks have no changes: their configuration is the one that the test above deploys again.
    assert platform.synthesize() == {"cluster", "observability"}
    status, stacks = platform.diff("cluster", "observability")
    assert status == 2
    assert stacks["cluster"]["cost"] == {"what": "difference", "idle": 0, "full": 347.92}
    assert platform.actions(stacks) == {
        "cluster": {("google_container_node_pool", "update")},
        "observability": {("google_monitoring_notification_channel", "update")},
    }


def test_exactly_what_was_shown_is_applied(platform: Platform) -> None:
    """What the test above was shown."""
    shown = str(platform.shown)
    before = platform.serials()
    platform.edit(r"max_nodes( *)= 4", r"max_nodes\1= 5")
    refused = platform.script("apply", shown)
    assert refused.returncode == 1
    assert "dev-cluster: approved was: 3 to update; now it is another plan: 3 to update" in refused.stderr
    assert "Run `scripts/diff dev` again" in refused.stderr
    assert platform.serials() == before, "nothing was applied"

    platform.edit(r"max_nodes( *)= 5", r"max_nodes\1= 4")
    applied = platform.script("apply", shown)
    assert applied.returncode == 0, applied.stderr
    assert "apply dev-cluster" in applied.stdout
    again = platform.script("apply", shown)
    assert (again.returncode, again.stdout.count("no changes")) == (0, 2), "a repeated job goes on"


def test_a_change_by_hand_is_drift(platform: Platform) -> None:
    with mock.patch.dict(os.environ, platform.variables):
        bigquery = emulators.endpoints().bigquery
    path = "bigquery/v2/projects/sales-forecast-dev/datasets/sales"
    body = {"description": "by hand"}
    httpx.patch(f"http://{bigquery}/{path}", json=body, timeout=180).raise_for_status()
    status, stacks = platform.diff("data")
    assert status == 2
    [drift], [change] = stacks["data"]["drift"], stacks["data"]["changes"]
    assert drift["address"] == change["address"] == "google_bigquery_dataset.sales"
    assert drift["fields"] == ["description"]


def test_a_diff_that_loses_data_is_refused(platform: Platform) -> None:
    platform.edit("europe-west1", "europe-west4")  # nothing moves to another region
    status, stacks = platform.diff("data", "--allow-destroy=google_bigquery_dataset.sales")
    assert status == 3, "one is allowed"
    lost = [change["address"] for change in stacks["data"]["changes"] if change["loses"]]
    kinds = {address.partition(".")[0] for address in lost}
    assert kinds == {"google_bigquery_dataset", "google_storage_bucket"}
    assert platform.diff("data", *(f"--allow-destroy={address}" for address in lost))[0] == 2


def test_destroyed_nothing_is_left(platform: Platform) -> None:
    platform.edit("europe-west4", "europe-west1")
    platform.destroy()


def test_deployed_again_its_plan_is_empty(platform: Platform) -> None:
    platform.deploy_again()
