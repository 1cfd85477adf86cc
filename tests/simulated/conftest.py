"""Real Terraform on small configurations with the simulated providers."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.simulator import install

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / "build" / "venvs" / "simulator" / "bin" / "python"
PROVIDERS = {
    "google": {"source": "localhost/simulated/google", "version": install.VERSIONS["google"]},
    "kubernetes": {"source": "localhost/simulated/kubernetes", "version": install.VERSIONS["kubernetes"]},
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a Terraform command with `-json` printed."""

    status: int
    messages: list[dict[str, Any]]

    def diagnostics(self, severity: str) -> list[dict[str, Any]]:
        """Errors or warnings."""
        found = [message["diagnostic"] for message in self.messages if message["type"] == "diagnostic"]
        return [diagnostic for diagnostic in found if diagnostic["severity"] == severity]

    def changes(self) -> dict[str, str]:
        """Resource address to planned action."""
        planned = [message["change"] for message in self.messages if message["type"] == "planned_change"]
        return {change["resource"]["addr"]: change["action"] for change in planned}


@dataclasses.dataclass(frozen=True)
class Stack:
    """A stack's folder as `cdktf synth` leaves it."""

    outdir: Path
    name: str
    environment: Mapping[str, str]
    program: str = "terraform"

    @property
    def folder(self) -> Path:
        return self.outdir / "stacks" / self.name

    def write(
        self,
        resources: Mapping[str, Mapping[str, Any]],
        *,
        providers: tuple[str, ...] = ("google",),
        google: Mapping[str, Any] | None = None,
    ) -> None:
        """Configure resources, by type and name."""
        configuration: dict[str, Any] = {
            "//": {
                "metadata": {"backend": "local", "stackName": self.name, "version": "0.21.0"},
                "outputs": {},
            },
            "terraform": {"required_providers": {name: PROVIDERS[name] for name in providers}},
            "provider": {name: {} for name in providers},
            "resource": resources,
        }
        if "google" in providers:
            configuration["provider"]["google"] = {"project": "p-1", "region": "europe-west1"} | dict(
                google or {}
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "cdk.tf.json").write_text(json.dumps(configuration, indent=1))
        if not (self.folder / ".terraform").exists():
            install.link(self.outdir)
            done = self.terraform("init", "-input=false")
            assert done.returncode == 0, done.stdout + done.stderr

    def terraform(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, verb: str, *arguments: str) -> Run:
        done = self.terraform(verb, "-json", "-input=false", *arguments)
        return Run(done.returncode, [json.loads(line) for line in done.stdout.splitlines()])

    def plan(self) -> Run:
        return self.run("plan")

    def apply(self) -> Run:
        """Apply, which must succeed."""
        run = self.run("apply", "-auto-approve")
        assert run.status == 0, run.diagnostics("error")
        return run

    def destroy(self) -> Run:
        return self.run("destroy", "-auto-approve")

    def values(self, address: str) -> dict[str, Any]:
        """A resource's values in state."""
        state = json.loads((self.folder / "terraform.tfstate").read_text())
        return next(
            each["instances"][0]["attributes"]
            for each in state["resources"]
            if f"{each['type']}.{each['name']}" == address
        )

    def errors(self) -> list[dict[str, Any]]:
        """Errors of `terraform validate`."""
        return json.loads(self.terraform("validate", "-json").stdout)["diagnostics"]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment variables of a simulated cloud of its own, with no network but loopback needed."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is absent: run `make install`")
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on PATH")
    home = tmp_path_factory.mktemp("simulator")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SIMULATOR_HOME": str(home),
        "CHECKPOINT_DISABLE": "1",
    }
    yield environment
    subprocess.run(
        [PYTHON, "-m", "infra.simulator", "down"],
        cwd=REPOSITORY,
        env=environment,
        stdout=sys.stderr,
        check=True,
    )


@pytest.fixture
def make_stack(simulator: dict[str, str], tmp_path: Path) -> Callable[[str], Stack]:
    """Stacks by name, in one output folder."""
    return lambda name: Stack(tmp_path, name, simulator)


@pytest.fixture
def stack(make_stack: Callable[[str], Stack]) -> Stack:
    """One stack."""
    return make_stack("stack")
