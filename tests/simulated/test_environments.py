"""dev, staging and prod as their files describe them, applied by real Terraform to a simulated cloud.

Most of the time goes into Terraform commands, so what one environment shows no other shows again: dev
recovers from faults, and `scripts/diff` tells what changes; prod is protected; staging may go at once.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from infra import environment
from infra.simulator import emulators, processes
from scripts.deploy import terraform_plans
from scripts.deploy.terraform_plans import Synthesis
from services.contracts.names import MODELS_BUCKET, bucket_name
from tests.conftest import REPOSITORY, SIMULATOR, Models, free_port

pytestmark = pytest.mark.slow

# Long enough for whatever does not wait for them to come too early.
SLOW = [
    {"type": kind, "seconds": 1}
    for kind in (
        "google_bigquery_table_iam_member",
        "google_compute_network",
        "google_project_iam_member",
        "google_project_service",
        "google_service_account",
        "kubernetes_namespace_v1",
        "kubernetes_service_account_v1",
    )
]
BROKEN = [
    {"type": "google_bigquery_table", "skip": 1, "error": "Error 503: backendError"},
    {"type": "google_container_node_pool", "error": "Error 403: quota exceeded"},
    {"type": "google_pubsub_subscription", "skip": 2, "error": "Error 503: backendError"},
    {"type": "kubernetes_deployment_v1", "skip": 1, "error": "the server is currently unable to handle it"},
]


class Platform:
    """An environment with ports of its own in a simulated cloud."""

    def __init__(self, name: str, folder: Path, home: Path) -> None:
        self.name = name
        self.folder = folder
        self.home = home
        self.environments = folder / "environments"
        self.environments.mkdir()
        for file in (environment.DIRECTORY / f"{name}.tfvars", environment.DIRECTORY / f"{name}.images.json"):
            if file.exists():
                shutil.copy(file, self.environments)
        for port in ("8080", "8081"):
            self.edit(rf"port( *)= {port}", rf"port\1= {free_port()}")
        self.variables = {
            "CHECKPOINT_DISABLE": "1",
            "PLATFORM_CLOUD": "simulated",
            "PLATFORM_ENVIRONMENTS": str(self.environments),
            "SIMULATOR_HOME": str(self.home),
            "TF_CLI_CONFIG_FILE": os.devnull,
        }
        self.synthesis: Synthesis

    def edit(self, pattern: str, replacement: str) -> None:
        """Change the environment's file."""
        file = self.environments / f"{self.name}.tfvars"
        text, count = re.subn(pattern, replacement, file.read_text())
        assert count, f"{pattern} is not in {file}"
        file.write_text(text)

    def unprotect(self) -> None:
        self.edit("deletion_protection = true", "deletion_protection = false")

    def synthesize(self) -> set[str]:
        """The stacks whose configuration is another one than before."""
        before = self.configurations
        with mock.patch.dict(os.environ, self.variables):
            self.synthesis = terraform_plans.synthesize(self.name, self.folder / "out")
        return {name for name, text in self.configurations.items() if before.get(name) != text}

    @property
    def configurations(self) -> dict[str, bytes]:
        """Of each stack."""
        files = (self.folder / "out" / "stacks").glob("*/cdk.tf.json")
        return {file.parent.name.removeprefix(f"{self.name}-"): file.read_bytes() for file in files}

    def order(self, *faults: dict[str, Any]) -> None:
        (self.home / "faults.json").write_text(json.dumps(faults))

    def terraform(self, stack: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments, "-input=false", "-no-color"],
            cwd=self.synthesis.folder / "stacks" / f"{self.name}-{stack}",
            env=os.environ | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def try_apply(self, stack: str) -> str | None:
        """Apply a stack; what went wrong, or None."""
        initialized = self.terraform(stack, "init")
        assert initialized.returncode == 0, initialized.stderr
        done = self.terraform(stack, "apply", "-auto-approve")
        return done.stderr if done.returncode else None

    def apply(self, *stacks: str) -> None:
        for stack in stacks:
            error = self.try_apply(stack)
            assert error is None, f"{stack}: {error}"

    @property
    def stacks(self) -> list[str]:
        """Names in an order in which they can be deployed; data first, for it has the models."""
        names = [stack.removeprefix(f"{self.name}-") for stack in self.synthesis.stacks]
        return sorted(names, key=lambda name: name not in ("foundation", "data"))

    def publish_a_model(self) -> None:
        """No service is ready before there is one."""
        with mock.patch.dict(os.environ, self.variables):
            url = emulators.endpoints().environment["STORAGE_EMULATOR_HOST"]
            settings = environment.load(self.name, directory=self.environments, cloud="simulated")
        bucket = bucket_name(settings.project_id, MODELS_BUCKET)
        Models(url, self.folder / "models", bucket).publish("v1")

    def diff(self, *stacks: str) -> tuple[int, dict[str, Any]]:
        """`scripts/diff`: its exit status and what it found, by stack."""
        file = self.folder / "diff.json"
        done = subprocess.run(
            [REPOSITORY / "scripts" / "diff", self.name, *stacks, "--json", file],
            env=os.environ | self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert file.exists(), done.stdout + done.stderr
        found = json.loads(file.read_text())
        file.unlink()
        return done.returncode, {
            each["stack"].removeprefix(f"{self.name}-"): each for each in found["stacks"]
        }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A simulated cloud for one environment after the other, so that emulators start once."""
    for program in ("terraform", "java", "gcloud"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    if not SIMULATOR.exists():
        pytest.skip(f"{SIMULATOR} is absent: run `make install`")
    home = tmp_path_factory.mktemp("home")
    yield home
    subprocess.run(
        [SIMULATOR / "bin" / "python", "-m", "infra.simulator", "down"],
        cwd=REPOSITORY,
        env=os.environ | {"SIMULATOR_HOME": str(home)},
        stdout=sys.stderr,
        check=False,
    )


@pytest.fixture(scope="module", params=["dev", "staging", "prod"])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Path
) -> Platform:
    """An environment that is synthesized, with nothing applied yet. The tests below go on from each other."""
    platform = Platform(request.param, tmp_path_factory.mktemp(request.param), home)
    if platform.name == "staging":
        platform.unprotect()
    platform.synthesize()
    return platform


def only(platform: Platform, *names: str) -> None:
    """Skip what other environments show as well."""
    if platform.name not in names:
        pytest.skip(f"shown by {', '.join(names)}")


def test_all_of_it_applies(platform: Platform) -> None:
    platform.order(*SLOW, *(BROKEN if platform.name == "dev" else []))
    failed: set[str] = set()
    for stack in platform.stacks:
        if stack == "services":
            platform.publish_a_model()
        error = platform.try_apply(stack)
        if error is not None and platform.name == "dev":
            assert "an injected fault" in error
            failed.add(stack)
            platform.apply(stack)  # what failed in the middle is repaired by the next run
        else:
            assert error is None, f"{stack}: {error}"
    assert failed == ({"cluster", "data", "messaging", "services"} if platform.name == "dev" else set())


def test_nothing_is_left_to_change(platform: Platform) -> None:
    left = [
        stack
        for stack in platform.stacks
        if platform.terraform(stack, "plan", "-detailed-exitcode").returncode
    ]
    assert left == []


def test_a_change_touches_only_what_it_should(platform: Platform) -> None:
    only(platform, "dev")
    platform.edit('email *= "[^"]*"', 'email = "somebody-else@example.com"')
    platform.edit(r"max_nodes( *)= \d+", r"max_nodes\1= 4")
    # Of the others, whose configuration is as before, Terraform has said above that nothing changes.
    assert platform.synthesize() == {"cluster", "observability"}
    status, stacks = platform.diff("foundation", "cluster", "observability")
    assert status == 2
    changed = {
        name: {(change["address"].partition(".")[0], change["action"]) for change in each["changes"]}
        for name, each in stacks.items()
        if each["outcome"] != "unchanged"
    }
    assert changed == {
        "cluster": {("google_container_node_pool", "update")},
        "observability": {("google_monitoring_notification_channel", "update")},
    }


def test_what_somebody_changed_by_hand_shows(platform: Platform) -> None:
    only(platform, "dev")
    with mock.patch.dict(os.environ, platform.variables):
        bigquery = emulators.endpoints().bigquery
    path = "bigquery/v2/projects/sales-forecast-dev/datasets/sales"
    body = {"description": "by hand"}
    httpx.patch(f"http://{bigquery}/{path}", json=body, timeout=30).raise_for_status()
    status, stacks = platform.diff("data")
    assert status == 2
    [drift], [change] = stacks["data"]["drift"], stacks["data"]["changes"]
    assert drift["address"] == change["address"] == "google_bigquery_dataset.sales"
    [difference] = drift["differences"]
    assert (difference["path"], difference["after"]) == ("description", '"by hand"')


def test_what_is_protected_is_not_destroyed(platform: Platform) -> None:
    only(platform, "prod")
    # What is not protected goes, and with it what stacks above would read of this one.
    for stack in ("orchestration", "data", "cluster"):
        done = platform.terraform(stack, "destroy", "-auto-approve", "-refresh=false")
        assert done.returncode == 1
        assert re.search(r"deletion_protection|prevent_destroy", done.stderr), done.stderr


def test_destroyed_in_order_nothing_is_left(platform: Platform) -> None:
    if platform.name == "prod":
        platform.unprotect()
        platform.synthesize()
        platform.apply("data", "cluster", "orchestration")
    for stack in reversed(platform.stacks):
        done = platform.terraform(stack, "destroy", "-auto-approve", "-refresh=false")
        assert done.returncode == 0, f"{stack}: {done.stderr}"
    assert [str(each) for each in (platform.home / "resources").rglob("*.json")] == []
    with mock.patch.dict(os.environ, platform.variables):
        running = [process.name for process in processes.recorded() if process.alive]
    assert all(name.startswith(f"{emulators.KIND}.") for name in running)
