"""An environment as its file describes it, applied by real Terraform to a simulated cloud.

Each environment has a test file of its own, so that they run in parallel. Its tests go on from each other:
most of the time goes into Terraform commands.
"""

import datetime
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from infra import environment
from infra.environment.files import DIRECTORY
from infra.simulator import emulators, processes
from scripts.command import load_environment
from scripts.deployment import terraform
from scripts.deployment.bootstrap import Bootstrap
from scripts.deployment.terraform import Synthesis
from services.contracts.names import MODELS_BUCKET, bucket_name
from tests.checkout import copy_checkout, link_installed
from tests.conftest import REPOSITORY, SIMULATOR, Models, free_port, wait_for

# Slow enough that a resource without a needed `depends_on` is created too early.
SLOW = [
    {"type": kind, "seconds": 0.5}
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


class Platform:
    """An environment with ports of its own in a simulated cloud."""

    def __init__(self, name: str, folder: Path, home: Path) -> None:
        self.name = name
        self.folder = folder
        self.home = home
        self.environments = folder / "environments"
        self.environments.mkdir()
        self.shown = folder / "diff.json"
        for file in (DIRECTORY / f"{name}.tfvars", DIRECTORY / f"{name}.images.json"):
            if file.exists():
                shutil.copy(file, self.environments)
        for port in ("8080", "8081"):
            self.edit(rf"port( *)= {port}", rf"port\1= {free_port()}")
        # No load balancer has to notice here that a pod stops.
        self.edit(r"(?m)^prediction = \{$", r"prediction = {\n  drain_seconds = 1")
        self.variables = {
            "CHECKPOINT_DISABLE": "1",
            "PLATFORM_CLOUD": "simulated",
            "PLATFORM_ENVIRONMENTS": str(self.environments),
            "SIMULATOR_HOME": str(self.home),
            "TF_CLI_CONFIG_FILE": os.devnull,
        }
        # What the environment's file said when the output was made, and as the last command read it.
        self._synthesized = self._read = ""
        self._output_time = 0

    @property
    def file(self) -> Path:
        """The environment's file."""
        return self.environments / f"{self.name}.tfvars"

    def edit(self, pattern: str, replacement: str) -> None:
        """Change the environment's file."""
        text, count = re.subn(pattern, replacement, self.file.read_text())
        assert count, f"{pattern} is not in {self.file}"
        self.file.write_text(text)

    @cached_property
    def checkout(self) -> Path:
        """A copy of the repository: cdktf has one folder of output.

        A simulated image is known by its sources, so somebody who edits them during the tests would change
        every later plan.
        """
        folder = self.folder / "checkout"
        copy_checkout(folder)
        link_installed(folder)
        return folder

    def command(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start one of `scripts/`. It takes what was synthesized last, if the file has not changed since."""
        manifest = self.checkout / "cdktf.out" / "manifest.json"
        output_time = manifest.stat().st_mtime_ns if manifest.exists() else 0
        if output_time != self._output_time:  # the last command has synthesized what it read
            self._synthesized, self._output_time = self._read, output_time
        self._read = self.file.read_text()
        same = self._synthesized == self._read
        return subprocess.Popen(
            [self.checkout / "scripts" / name, self.name, *arguments],
            env=os.environ | self.variables | ({"CDKTF_SKIP_SYNTH": "true"} if same else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def succeed(self, name: str, *arguments: str) -> str:
        """What one of `scripts/` prints. It must succeed."""
        done = self.script(name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def interrupt_deployment(self, stack: str, kind: str) -> None:
        """Press Ctrl-C while a deployment creates the first resource of a type, which has to be slow.

        Terraform must keep what it was creating.
        """
        process = self.command("deploy")
        log = self.home / "logs" / f"deploy-{self.name}" / f"deploy-{self.name}-{stack}.log"
        wait_for(
            f"a {kind} that is being created",
            lambda: log.is_file() and re.search(rf"{kind}\..*: Creating", log.read_text()),
            600,
        )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        printed, failed = process.communicate(timeout=1200)
        assert process.returncode == 1
        assert "✓ bootstrap" in printed
        assert f"deploy {self.name}-{stack}: interrupted" in failed
        assert f"to repeat it: npx cdktf deploy {self.name}-{stack} " in failed
        assert f"to go on from there: scripts/deploy {self.name}" in failed
        states = [json.loads(file.read_text()) for file in (self.home / "terraform").glob("*.tfstate")]
        kept = {each["type"] for state in states for each in state["resources"]}
        assert kind in kept, "it exists, and Terraform has forgotten it"

    @cached_property
    def sales(self) -> str:
        """The path of a sales file of two series until 2024-05-14, which are soon learned."""
        file = self.folder / "sales.csv"
        days = [datetime.date(2023, 1, 1) + datetime.timedelta(day) for day in range(500)]
        drawn = random.Random(1)
        rows = [f"{day},{store},A,{drawn.randint(5, 15)}" for day in days for store in (1, 2)]
        file.write_text("\n".join(["date,store_nbr,family,sales", *rows]))
        return str(file)

    def unprotect(self) -> None:
        self.edit("deletion_protection = true", "deletion_protection = false")

    def synthesize(self) -> set[str]:
        """Synthesize; returns the stacks whose configuration has changed."""
        before = self.configurations
        python = self.checkout / ".venv" / "bin" / "python"
        variables = os.environ | self.variables | {"PLATFORM_ENV": self.name}
        self._read = self.file.read_text()
        subprocess.run([python, "-m", "stacks"], cwd=self.checkout, env=variables, check=True)
        return {name for name, text in self.configurations.items() if before.get(name) != text}

    @property
    def synthesis(self) -> Synthesis:
        """What was synthesized last, by a deployment or by `synthesize`."""
        return terraform.synthesized(self.name, self.checkout / "cdktf.out")

    @property
    def configurations(self) -> dict[str, bytes]:
        """The configuration of each stack."""
        files = (self.checkout / "cdktf.out" / "stacks").glob("*/cdk.tf.json")
        return {file.parent.name.removeprefix(f"{self.name}-"): file.read_bytes() for file in files}

    def inject(self, *faults: dict[str, Any]) -> None:
        (self.home / "faults.json").write_text(json.dumps(faults))

    def terraform(self, stack: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        folder = self.synthesis.folder / "stacks" / f"{self.name}-{stack}"
        if arguments[0] != "init" and not (folder / ".terraform").exists():
            initialized = self.terraform(stack, "init")
            assert initialized.returncode == 0, initialized.stderr
        return subprocess.run(
            ["terraform", *arguments, "-input=false", "-no-color"],
            cwd=folder,
            env=os.environ | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def try_apply(self, stack: str) -> str | None:
        """Apply a stack; returns the error, or None."""
        done = self.terraform(stack, "apply", "-auto-approve")
        return done.stderr if done.returncode else None

    def apply(self, *stacks: str) -> None:
        for stack in stacks:
            error = self.try_apply(stack)
            assert error is None, f"{stack}: {error}"

    def bootstrap(self) -> None:
        """Make what stacks need before the first deployment."""
        with mock.patch.dict(os.environ, self.variables):
            target = load_environment(self.name)
            list(Bootstrap(target, self.synthesis, dry_run=False).steps())

    def apply_all(self) -> list[str]:
        """Apply all stacks, each a second time if an injected fault stops it; returns those stacks."""
        self.bootstrap()
        failed: list[str] = []
        for stack in self.stacks:
            if stack == "services":
                self.publish_a_model()
            if error := self.try_apply(stack):
                assert "an injected fault" in error, f"{stack}: {error}"
                failed.append(stack)
                self.apply(stack)
        return failed

    @property
    def stacks(self) -> list[str]:
        """Names in an order in which they can be deployed; data early, because services need a model."""
        names = [stack.removeprefix(f"{self.name}-") for stack in self.synthesis.stacks]
        return sorted(names, key=lambda name: name not in ("foundation", "data"))

    def publish_a_model(self) -> None:
        """Publish a model, without which no service is ready."""
        with mock.patch.dict(os.environ, self.variables):
            url = emulators.endpoints().environment["STORAGE_EMULATOR_HOST"]
            settings = environment.load(self.name, directory=self.environments, cloud="simulated")
        bucket = bucket_name(settings.project_id, MODELS_BUCKET)
        Models(url, self.folder / "models", bucket).publish("v1")

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of scripts/ on the environment to its end."""
        process = self.command(name, *arguments)
        printed, failed = process.communicate(timeout=3600)
        return subprocess.CompletedProcess(process.args, process.returncode, printed, failed)

    def diff(self, *stacks: str) -> tuple[int, dict[str, Any]]:
        """Run `scripts/diff`; returns its exit status and its findings by stack, which stay in `shown`."""
        self.shown.unlink(missing_ok=True)
        done = self.script("diff", *stacks, "--json", str(self.shown))
        assert self.shown.exists(), done.stdout + done.stderr
        found = json.loads(self.shown.read_text())
        return done.returncode, {
            each["stack"].removeprefix(f"{self.name}-"): each for each in found["stacks"]
        }

    @staticmethod
    def actions(found: Mapping[str, Any]) -> dict[str, set[tuple[str, str]]]:
        """Types of resources and what happens to them, by stack; stacks that stay as they are left out."""
        return {
            name: {(change["address"].partition(".")[0], change["action"]) for change in each["changes"]}
            for name, each in found.items()
            if each["outcome"] != "unchanged"
        }

    def update(self, expected: Mapping[str, set[str]]) -> None:
        """Apply an edit of the environment's file. It must update resources in place, and nothing else.

        Args:
            expected: their types, by stack.
        """
        self.synthesize()
        found = self.diff()[1]
        assert self.actions(found) == {
            stack: {(kind, "update") for kind in kinds} for stack, kinds in expected.items()
        }
        self.succeed("apply", str(self.shown))
        assert self.diff(*expected)[0] == 0

    def deploy_again(self) -> None:
        """Deploy a destroyed environment. The next plan must be empty."""
        self.succeed("deploy", "--data", self.sales)
        status, found = self.diff()
        assert (status, self.actions(found)) == (0, {})

    def serials(self) -> dict[str, int]:
        """How often Terraform has written the state of each stack."""
        states = (self.home / "terraform").glob("*.tfstate")
        return {state.stem: json.loads(state.read_text())["serial"] for state in states}

    def plan(self) -> list[str]:
        """Stacks with changes to apply."""
        return [
            stack for stack in self.stacks if self.terraform(stack, "plan", "-detailed-exitcode").returncode
        ]

    def resources(self) -> list[str]:
        """What exists, but for service agents and what nobody can delete."""
        files = (self.home / "resources").rglob("*.json")
        kept = re.compile("google_(cloud_quotas|kms_(crypto|key))|service_agent")
        return [str(each) for each in files if not kept.search(str(each))]

    def destroy(self) -> None:
        """Destroy it, after which neither resources nor services are left."""
        self.succeed("destroy")
        assert self.resources() == []
        with mock.patch.dict(os.environ, self.variables):
            running = [process.name for process in processes.recorded() if process.alive]
        assert all(name.startswith((f"{emulators.KIND}.", "simulator.")) for name in running)


def simulated(name: str, folders: pytest.TempPathFactory) -> Iterator[Platform]:
    """An environment in a simulated cloud of its own, with nothing synthesized or applied yet."""
    for program in ("terraform", "java", "gcloud"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    if not SIMULATOR.exists():
        pytest.skip(f"{SIMULATOR} is absent: run `make install`")
    home = folders.mktemp("home")
    yield Platform(name, folders.mktemp(name), home)
    subprocess.run(
        [SIMULATOR / "bin" / "python", "-m", "infra.simulator", "down"],
        cwd=REPOSITORY,
        env=os.environ | {"SIMULATOR_HOME": str(home)},
        stdout=sys.stderr,
        check=False,
    )
