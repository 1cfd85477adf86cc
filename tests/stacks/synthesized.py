"""What was synthesized, and assertions on it that read as a specification."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Json = Any


def synthesize(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the app as cdktf does; what it writes is in `folder/out`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
    own = {"CDKTF_OUTDIR": str(folder / "out"), "SIMULATOR_HOME": str(folder / "home"), "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "stacks"],
        cwd=ROOT,
        env=inherited | own | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def matches(actual: Json, expected: Json) -> bool:
    """Whether a value has what is expected: of an object the keys that are named, of a list all items."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            key in actual and matches(actual[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(matches(*pair) for pair in zip(actual, expected, strict=True))
        )
    return actual == expected


@dataclass(frozen=True)
class Stack:
    """A synthesized stack."""

    id: str
    folder: Path = field(repr=False)
    content: dict[str, Any] = field(repr=False)

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a type by their names in Terraform."""
        return self.content.get("resource", {}).get(kind, {})

    @property
    def resources(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Type, name and arguments of every resource."""
        kinds = self.content.get("resource", {})
        return [(kind, name, each) for kind, named in kinds.items() for name, each in named.items()]

    def one(self, kind: str, **expected: Json) -> dict[str, Any]:
        """The only resource of a type with these arguments."""
        found = [each for each in self.all(kind).values() if matches(each, expected)]
        there = json.dumps(list(self.all(kind).values()), indent=1)
        assert len(found) == 1, f"{self.id}: {len(found)} {kind} with {expected}; there are: {there}"
        return found[0]

    def none(self, kind: str, **unexpected: Json) -> None:
        """No resource of a type has these arguments."""
        found = [name for name, each in self.all(kind).items() if matches(each, unexpected)]
        assert not found, f"{self.id}: {kind} {found} with {unexpected}"

    def manifest(self, kind: str) -> dict[str, Any]:
        """The only Kubernetes object of a kind that has no resource type of its own."""
        return self.one("kubernetes_manifest", manifest={"kind": kind})["manifest"]

    def awaited(self, resource: dict[str, Any]) -> set[str]:
        """The resources that a resource depends on, directly or as grants that are given time."""
        waits = {f"terraform_data.{name}": each for name, each in self.all("terraform_data").items()}
        return {
            address
            for each in resource["depends_on"]
            for address in (
                [
                    value.removeprefix("${").removesuffix(".id}")
                    for value in waits[each]["triggers_replace"].values()
                ]
                if each in waits
                else [each]
            )
        }

    def address(self, kind: str, **expected: Json) -> str:
        """How `depends_on` calls the only resource of a type with these arguments."""
        resource = self.one(kind, **expected)
        return f"{kind}.{next(name for name, each in self.all(kind).items() if each is resource)}"


@dataclass(frozen=True)
class Synthesis:
    """The output folder of one run of the app."""

    folder: Path

    @property
    def stacks(self) -> list[Stack]:
        """All stacks."""
        return [self.stack(path.name) for path in sorted((self.folder / "stacks").iterdir())]

    @property
    def dependencies(self) -> dict[str, list[str]]:
        """The stacks that each stack waits for."""
        manifest = json.loads((self.folder / "manifest.json").read_text())
        return {name: each["dependencies"] for name, each in manifest["stacks"].items()}

    @cache  # noqa: B019 -- lives as long as the session
    def stack(self, id_: str) -> Stack:
        """A stack by its id."""
        folder = self.folder / "stacks" / id_
        text = (folder / "cdk.tf.json").read_text()
        return Stack(id_, folder, json.loads(text, object_hook=_without_comments))


def _without_comments(value: dict[str, Any]) -> dict[str, Any]:
    """cdktf explains itself below the key `//`."""
    return {key: each for key, each in value.items() if key != "//"}


def synthesize_once(
    folders: pytest.TempPathFactory, name: str, files: Mapping[str, str] | None = None
) -> Synthesis:
    """Synthesize the committed environments, or those of `files`, for all workers of a run of pytest."""
    own = folders.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "out" / "manifest.json").exists():
            for file, text in (files or {}).items():
                (folder / file).write_text(text)
            run = synthesize(folder, **({"PLATFORM_ENVIRONMENTS": str(folder)} if files else {}))
            assert run.returncode == 0, run.stderr
    return Synthesis(folder / "out")


def committed(folders: pytest.TempPathFactory) -> Synthesis:
    """Every stack of every committed environment."""
    return synthesize_once(folders, "synthesis")
