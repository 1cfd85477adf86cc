"""`scripts/deploy` from an empty simulated project: interrupted, resumed, and the plan after it is empty."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY, wait_for
from tests.simulated.simulated_platform import Platform, simulated

pytestmark = pytest.mark.slow

# A sixth of a minute, in which Terraform is interrupted.
SLOW_TABLES = {"type": "google_bigquery_table", "seconds": 10}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The environment, not applied; the tests below go on from each other."""
    for platform in simulated("dev", tmp_path_factory):
        platform.synthesize()
        yield platform


def start(platform: Platform, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [REPOSITORY / "scripts" / "deploy", platform.name, *arguments],
        env=os.environ | platform.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    printed, failed = process.communicate(timeout=900)
    assert process.returncode == 0, printed + failed
    return printed


def test_a_faulty_file_stops_it_before_anything_starts(platform: Platform) -> None:
    file = platform.folder / "sales.csv"
    file.write_text("date,store_nbr,family,sales\n2024-01-01,1,A,-5\n")
    process = start(platform, "--data", str(file))
    _, failed = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "row 2" in failed
    assert not (platform.home / "terraform").exists()


def test_interrupted_it_keeps_what_terraform_has_made(platform: Platform) -> None:
    platform.inject(SLOW_TABLES)
    process = start(platform)
    log = platform.home / "logs" / "deploy-dev" / "deploy-cluster,-data,-messaging.log"
    wait_for(
        "a table that is being created",
        lambda: log.is_file() and re.search(r"google_bigquery_table.*: Creating", log.read_text()),
        600,
    )
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    printed, failed = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "deploy what images need" in printed
    assert "deploy cluster, data, messaging: interrupted" in failed
    assert "to repeat it: npx --no-install cdktf deploy dev-cluster dev-data dev-messaging" in failed
    assert "to go on from there: scripts/deploy dev" in failed
    # What was being created is in the state: nothing exists that Terraform has forgotten.
    state = json.loads((platform.home / "terraform" / "dev-data.tfstate").read_text())
    assert "google_bigquery_table" in {each["type"] for each in state["resources"]}


def test_resumed_it_goes_through(platform: Platform) -> None:
    platform.inject()
    printed = finish(start(platform))
    assert "✓ load sales" in printed
    assert "✓ check the forecasts" in printed
    assert platform.diff()[0] == 0


def test_again_it_changes_nothing(platform: Platform) -> None:
    serials = platform.serials()
    printed = finish(start(platform))
    assert re.search(r"load sales.* not needed: the sales until 2011-12-08 stay", printed)
    assert platform.serials() == serials


def test_destroyed_nothing_is_left(platform: Platform) -> None:
    destroy = [REPOSITORY / "scripts" / "destroy", platform.name]
    done = subprocess.run(
        destroy, env=os.environ | platform.variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [str(each) for each in (platform.home / "resources").rglob("*.json")] == []
