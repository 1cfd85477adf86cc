"""A copy of the repository in which a test makes a change, synthesizes it and applies it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.contracts.names import MODELS_BUCKET, bucket_name
from tests.checkout import copy_checkout, link_installed
from tests.conftest import SIMULATOR, Models, free_port


class Checkout:
    """A copy of the repository with a simulated cloud of its own.

    Its folder `.local` is the SIMULATOR_HOME, and ports of services are free ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bootstrapped: set[str] = set()
        copy_checkout(folder)
        link_installed(folder)
        for file in (folder / "infra" / "environments").glob("*.tfvars"):
            text = file.read_text()
            file.write_text(re.sub(r"\bport( *)= \d+", lambda found: f"port{found[1]}= {free_port()}", text))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that a file has exactly once."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{path} has {text.count(old)} times: {old}"
        (self.folder / path).write_text(text.replace(old, new))

    def run(self, *command: str, folder: str = "", **variables: str) -> tuple[int, str]:
        """Run a command in the copy; its exit status and everything it printed."""
        own = ("PLATFORM_", "SIMULATOR_", "VIRTUAL_ENV", "TF_", "PYTEST_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        done = subprocess.run(
            command,
            cwd=self.folder / folder,
            env=inherited
            | {"SIMULATOR_HOME": f"{self.folder}/.local", "CHECKPOINT_DISABLE": "1"}
            | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def python(self, *arguments: str, environment: str = ".venv", **variables: str) -> str:
        """What a Python command prints, in one of the copy's virtual environments. It must succeed."""
        status, printed = self.run(f"{self.folder}/{environment}/bin/python", *arguments, **variables)
        assert status == 0, printed
        return printed

    def synthesize(self, environment: str, cloud: str = "simulated") -> dict[str, dict[str, Any]]:
        """Configurations of an environment by stack, such as `messaging`."""
        stacks = self.folder / "cdktf.out" / "stacks"
        shutil.rmtree(stacks, ignore_errors=True)
        self.python("-m", "stacks", PLATFORM_ENV=environment, PLATFORM_CLOUD=cloud, CDKTF_OUTDIR="cdktf.out")
        return {
            file.parent.name.removeprefix(f"{environment}-"): json.loads(file.read_text())
            for file in stacks.glob("*/cdk.tf.json")
        }

    def refusal(self, environment: str) -> str:
        """What synthesis prints when it refuses an environment. It must fail."""
        command = (".venv/bin/python", "-m", "stacks")
        status, printed = self.run(*command, PLATFORM_ENV=environment, CDKTF_OUTDIR="refused")
        assert status != 0, printed
        return printed

    def apply(self, environment: str, *stacks: str) -> str:
        """Apply stacks that were synthesized simulated, in this order; what Terraform printed."""
        if environment not in self._bootstrapped:
            self.python(
                "-m",
                "scripts",
                "bootstrap",
                environment,
                PLATFORM_CLOUD="simulated",
                TF_CLI_CONFIG_FILE=os.devnull,
                CDKTF_SKIP_SYNTH="true",
            )
            self._bootstrapped.add(environment)
        return "\n".join(
            self.terraform(f"{environment}-{stack}", *arguments)
            for stack in stacks
            for arguments in (["init"], ["apply", "-auto-approve"])
        )

    def terraform(self, stack: str, *arguments: str) -> str:
        """What a Terraform command prints in a stack's folder. It must succeed."""
        folder = f"cdktf.out/stacks/{stack}"
        command = ["terraform", *arguments, "-input=false", "-no-color"]
        status, printed = self.run(*command, folder=folder, TF_CLI_CONFIG_FILE=os.devnull)
        assert status == 0, f"{stack}: {printed}"
        return printed

    def simulator(self, command: str) -> str:
        """What `python -m infra.simulator` prints for `up`, `down` or `status`. It must succeed."""
        return self.python("-m", "infra.simulator", command, environment="build/venvs/simulator")

    def emulators(self) -> dict[str, str]:
        """The variables by which clients find the emulators, which are started if need be."""
        return dict(line.split("=", 1) for line in self.simulator("up").splitlines() if "=" in line)

    def publish_a_model(self, project: str) -> None:
        """Publish a small model, without which no forecast service is ready. The stack `data` is applied."""
        url = self.emulators()["STORAGE_EMULATOR_HOST"]
        Models(url, self.folder / "models", bucket_name(project, MODELS_BUCKET)).publish("v1")

    def stop(self) -> None:
        """Stop everything that was started from the copy."""
        self.simulator("down")
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
            if any(str(self.folder) in word for word in words):
                process.kill()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of the repository; the tests of a module share it."""
    if not SIMULATOR.exists() or shutil.which("terraform") is None:
        pytest.skip("run `make install`; terraform must be on PATH")
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    yield checkout
    checkout.stop()
