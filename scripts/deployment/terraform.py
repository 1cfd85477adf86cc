"""Synthesize an environment once, and run Terraform in the folders of its stacks."""

import difflib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import msgspec

from scripts.command import CommandError, captured
from scripts.laptop.install import TERRAFORM
from scripts.paths import ROOT

OUT: Final = ROOT / "cdktf.out"
"""Where cdktf, too, has what it synthesized, and so has Terraform what it could not save."""

_PLUGINS: Final = ROOT / "build" / "terraform-plugins"


class Synthesis(msgspec.Struct, frozen=True):
    """cdktf's output for one environment, and the ids of its stacks in the order of deployment."""

    environment: str
    folder: Path
    stacks: tuple[str, ...]

    def select(self, names: Iterable[str]) -> tuple[str, ...]:
        """Ids of the stacks named, `messaging` or `dev-messaging`, in deployment order; by default all.

        Raises:
            CommandError: the environment has no such stack.
        """
        prefix = f"{self.environment}-"
        wanted = {name if name.startswith(prefix) else f"{prefix}{name}" for name in names}
        if unknown := sorted(wanted - set(self.stacks)):
            short = [stack.removeprefix(prefix) for stack in self.stacks]
            close = difflib.get_close_matches(unknown[0].removeprefix(prefix), short, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(short)}"
            raise CommandError(f"{self.environment} has no stack {unknown[0].removeprefix(prefix)}; {hint}")
        return tuple(stack for stack in self.stacks if not wanted or stack in wanted)

    def configuration(self, stack: str) -> dict[str, Any]:
        """A stack's configuration in Terraform's JSON syntax."""
        return json.loads((self.folder / "stacks" / stack / "cdk.tf.json").read_bytes())

    def plan_file(self, stack: str) -> Path:
        """Where Terraform keeps its plan of a stack. The file has secrets in it, and the numbers of pods."""
        return self.folder / f"{stack}.plan"


def synthesize(environment: str, folder: Path) -> Synthesis:
    """Run the app for one environment. With `CDKTF_SKIP_SYNTH`, as for cdktf, what is in `OUT` is taken.

    Raises:
        CommandError: the app refuses the environment; carries its message.
    """
    if os.environ.get("CDKTF_SKIP_SYNTH") == "true":
        return synthesized(environment, OUT)
    variables = {"PLATFORM_ENV": environment, "CDKTF_OUTDIR": str(folder)}
    done = captured(sys.executable, "-m", "stacks", variables=variables)
    if done.returncode != 0:
        raise CommandError(done.stderr.strip())
    return synthesized(environment, folder)


def synthesized(environment: str, folder: Path) -> Synthesis:
    """What the app has written into a folder for one environment, maybe beside others."""
    manifest = json.loads((folder / "manifest.json").read_bytes())["stacks"]
    own = {stack: each for stack, each in sorted(manifest.items()) if stack.startswith(f"{environment}-")}
    order = TopologicalSorter({stack: each["dependencies"] for stack, each in own.items()})
    return Synthesis(environment, folder, tuple(order.static_order()))


class Terraform:
    """Terraform in the folder of one stack."""

    def __init__(self, synthesis: Synthesis, stack: str) -> None:
        self.stack = stack
        self.configuration = synthesis.configuration(stack)
        self.folder = synthesis.folder / "stacks" / stack
        required = self.configuration["terraform"]["required_providers"].values()
        self.variables = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        if all(each["source"].startswith("localhost/") for each in required):
            # A mirror in the user's own configuration would keep Terraform from finding the providers.
            self.variables["TF_CLI_CONFIG_FILE"] = os.devnull
        else:
            _PLUGINS.mkdir(parents=True, exist_ok=True)
            # Else every stack would download the same providers anew, having no lock file of its own.
            self.variables |= {
                "TF_PLUGIN_CACHE_DIR": str(_PLUGINS),
                "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
            }

    def initialized(self, *arguments: str) -> tuple[str, ...]:
        """A command that initializes the folder, then runs a command of Terraform there.

        The folder may have been initialized by other versions of the providers than are asked for now.
        """
        options = ("-input=false", "-no-color")
        each = (("init", "-upgrade", *options), (*arguments, *options))
        return ("sh", "-c", " && ".join(shlex.join((TERRAFORM.command[0], *words)) for words in each))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform to its end."""
        # -chdir would make it look for simulated providers elsewhere
        return captured(TERRAFORM.command[0], *arguments, cwd=self.folder, variables=self.variables)

    def must(self, *arguments: str) -> str:
        """Run a command that has to succeed, else CommandError; returns what it prints."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise CommandError(f"terraform {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
