"""A simulated cloud of the tests' own, and Terraform on it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import httpx
import pytest

from infra.simulator import SimulatorError, emulators, install, inventory, processes
from infra.simulator.emulators import Endpoints
from tests.conftest import REPOSITORY, SIMULATOR, wait_for

PROJECT = "test-project"
PUBSUB_AGENT = {"id": "service-1@gcp-sa-pubsub.iam.gserviceaccount.com"}
Resources = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Resource type to name to arguments, as in Terraform's JSON syntax."""


class Cloud:
    """A simulated cloud in a folder of its own, driven through its command line."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def command(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m infra.simulator`."""
        return subprocess.run(
            [SIMULATOR / "bin" / "python", "-m", "infra.simulator", verb],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )

    def up(self) -> list[str]:
        """Start what does not run; returns what was started."""
        done = self.command("up")
        assert done.returncode == 0, done.stderr
        inventory.record("service_agent", PUBSUB_AGENT)
        return [line.removeprefix("started ") for line in done.stdout.splitlines() if "started" in line]

    @property
    def endpoints(self) -> Endpoints:
        return emulators.endpoints()

    def record(self, name: str) -> dict[str, Any]:
        """The record of a process."""
        return json.loads((self.home / "processes" / f"{name}.json").read_text())

    def kill(self, name: str) -> None:
        """SIGKILL a process, and wait until it is gone."""
        process = processes.find(name)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        wait_for(f"{name} is dead", lambda: not process.alive)

    def pubsub(self, method: str, path: str, body: object = None) -> Any:
        return self._call(self.endpoints.pubsub, method, f"/v1/projects/{PROJECT}/{path}", body)

    def bigquery(self, method: str, path: str, body: object = None) -> Any:
        return self._call(self.endpoints.bigquery, method, f"/bigquery/v2/projects/{PROJECT}/{path}", body)

    def storage(self, method: str, path: str, body: object = None) -> Any:
        return self._call(self.endpoints.storage, method, f"/storage/v1/{path}", body)

    def query(self, sql: str) -> list[list[str | None]]:
        """Rows of a query."""
        answer = self.bigquery("POST", "queries", {"query": sql, "useLegacySql": False})
        assert "errors" not in answer, answer
        return [[cell["v"] for cell in row["f"]] for row in answer["rows"]]

    def clear(self) -> None:
        """Remove everything but the emulators: much faster than a `terraform destroy`."""
        try:
            assert self.endpoints
        except SimulatorError:  # a test has killed one
            self.up()
        shutil.rmtree(self.home / "resources", ignore_errors=True)
        inventory.record("service_agent", PUBSUB_AGENT)
        names = [process.name for process in processes.recorded()]
        processes.stop(name for name in names if not name.startswith(("emulator.", "simulator.")))
        for collection in ("subscriptions", "topics", "schemas"):
            for item in self.pubsub("GET", collection).get(collection, []):
                self.pubsub("DELETE", item["name"].split("/", 2)[2])
        for dataset in self.bigquery("GET", "datasets")["datasets"]:
            name = dataset["datasetReference"]["datasetId"]
            self.bigquery("DELETE", f"datasets/{name}?deleteContents=true")
        for bucket in self.storage("GET", "b").get("items", []):
            for item in self.storage("GET", f"b/{bucket['name']}/o").get("items", []):
                self.storage("DELETE", f"b/{bucket['name']}/o/{quote(item['name'], safe='')}")
            self.storage("DELETE", f"b/{bucket['name']}")

    def _call(self, address: str, method: str, path: str, body: object) -> Any:
        response = httpx.request(method, f"http://{address}{path}", json=body, timeout=180)
        response.raise_for_status()
        return response.json() if response.content else None


class Terraform:
    """A stack of its own, applied with the simulated providers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stacks" / "test"
        self.folder.mkdir(parents=True)
        self.app = folder
        self.providers: set[str] = set()

    def configure(self, resources: Resources) -> None:
        """Replace the configuration."""
        settings = {"google": {"project": PROJECT, "region": "europe-west1"}, "kubernetes": {}}
        known = len(self.providers)
        self.providers |= {kind.partition("_")[0] for kind in resources}
        configuration: dict[str, Any] = {
            "terraform": {
                "required_providers": {
                    name: {"source": f"localhost/simulated/{name}", "version": install.VERSIONS[name]}
                    for name in sorted(self.providers)
                }
            },
            "provider": {name: settings[name] for name in sorted(self.providers)},
        }
        if resources:
            configuration["resource"] = resources
        (self.folder / "cdk.tf.json").write_text(json.dumps(configuration))
        if len(self.providers) > known:
            install.link(self.app)
            self.run("init", "-input=false")

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run Terraform; returns what it printed, errors last."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        done = subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self.folder,
            env={**own, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def apply(self, resources: Resources | None = None) -> str:
        """Apply a configuration, or the one there is."""
        if resources is not None:
            self.configure(resources)
        return self.run("apply", "-auto-approve", "-input=false")

    def refused(self, resources: Resources) -> str:
        """Apply a configuration that must fail; returns what Terraform said, without its line breaks."""
        self.configure(resources)
        text = self.run("apply", "-auto-approve", "-input=false", expect=1)
        return " ".join(text.replace("│", " ").split())

    def plan(self) -> dict[str, str]:
        """What would be done: address to action, without what stays."""
        lines = map(json.loads, self.run("plan", "-input=false", "-json").splitlines())
        changes = [line["change"] for line in lines if line["type"] == "planned_change"]
        return {change["resource"]["addr"]: change["action"] for change in changes}

    def state(self, address: str) -> dict[str, Any]:
        """The values of a resource."""
        state = json.loads(self.run("show", "-json"))
        (values,) = (
            each["values"]
            for each in state["values"]["root_module"]["resources"]
            if each["address"] == address
        )
        return values

    def destroy(self) -> None:
        self.run("destroy", "-auto-approve", "-input=false")


def _new_cloud(home: Path) -> Iterator[Cloud]:
    for program, remedy in (("java", "a JRE 11 or newer"), ("gcloud", "with component pubsub-emulator")):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH: {remedy}")
    if not SIMULATOR.exists():
        pytest.skip(f"{SIMULATOR} is absent: run `make install`")
    with mock.patch.dict(os.environ, {"SIMULATOR_HOME": str(home)}):
        cloud = Cloud(home)
        yield cloud
        cloud.command("down")


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud with nothing running, for one test."""
    yield from _new_cloud(tmp_path / "home")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud whose emulators run, for the tests of a module."""
    for cloud in _new_cloud(tmp_path_factory.mktemp("cloud")):
        cloud.up()
        yield cloud


@pytest.fixture
def terraform(cloud: Cloud, tmp_path: Path) -> Iterator[Terraform]:
    """A stack in a cloud where nothing is left after the test."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not on PATH")
    yield Terraform(tmp_path)
    cloud.clear()
