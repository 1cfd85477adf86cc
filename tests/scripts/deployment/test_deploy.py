"""The steps of `scripts/deploy` in the cloud. tests/simulated takes those of the simulated one."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from infra import environment
from scripts.deployment import terraform
from scripts.deployment.deploy import Deployment
from scripts.deployment.steps import Step, StepRunner
from tests.conftest import Models, Process


class Noted(StepRunner):
    """Takes steps down instead of taking them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Console(quiet=True), folder, "")
        self.commands: list[tuple[str, ...]] = []

    def run(self, step: Step, variables: Mapping[str, str]) -> None:
        command = tuple(step.again or step.command)
        synthesized = SYNTHESIZE in self.commands and command[0] not in (sys.executable, "npx")
        assert ("CDKTF_SKIP_SYNTH" in variables) is synthesized, step.name
        self.commands.append(command)


SYNTHESIZE = (sys.executable, "-m", "stacks")


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Terraform is told of each stack's providers."""
    for stack in (f"{each.name}-{stack}" for each in environment.load_all() for stack in each.stacks):
        configuration = tmp_path / "stacks" / stack / "cdk.tf.json"
        configuration.parent.mkdir(parents=True)
        providers = {"google": {"source": "hashicorp/google"}}
        configuration.write_text(json.dumps({"terraform": {"required_providers": providers}}))
    monkeypatch.setattr(terraform, "OUT", tmp_path)


def commands(name: str, folder: Path) -> list[tuple[str, ...]]:
    runner = Noted(folder / "logs")
    Deployment(environment.load(name), folder / "sales.csv", runner).run()
    return runner.commands


def deployed(name: str, *stacks: str) -> list[tuple[str, ...]]:
    alone = "--ignore-missing-stack-dependencies"
    return [("npx", "cdktf", "deploy", f"{name}-{stack}", alone) for stack in stacks]


def beginning(name: str) -> list[tuple[str, ...]]:
    """Whatever needs an API, a service agent, a quota, a repository or an image comes after it is there."""
    return [
        ("scripts/preflight", name),
        SYNTHESIZE,
        ("scripts/bootstrap.sh", name),
        ("scripts/preflight", name, "quotas", "ranges"),
        *deployed(name, "foundation", "registry"),
        *(("scripts/push_image.sh", image, name) for image in ("batch", "prediction", "streaming")),
        SYNTHESIZE,
        *deployed(name, "cluster", "data", "messaging"),
    ]


def test_with_airflow_the_first_model_is_trained_here(tmp_path: Path) -> None:
    assert commands("prod", tmp_path) == [
        *beginning("prod"),
        ("scripts/step", "prod", "ingest", "--file", str(tmp_path / "sales.csv")),
        ("scripts/step", "prod", "train"),
        ("scripts/step", "prod", "publish_model"),
        *deployed("prod", "services", "observability", "orchestration"),
        ("scripts/verify", "prod"),
    ]


def test_without_airflow_a_job_trains_it_once(
    storage_emulator: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator.url)
    models = Models(storage_emulator.url, tmp_path / "models", "sales-forecast-dev-models")
    models.bucket.create()
    ingest = ("scripts/step", "dev", "ingest", "--file", str(tmp_path / "sales.csv"))
    end = [*deployed("dev", "services", "observability"), ("scripts/verify", "dev")]
    first = commands("dev", tmp_path)
    assert first == [*beginning("dev"), ingest, ("scripts/first_model", "dev"), *end]
    models.publish("v1")
    assert commands("dev", tmp_path) == [*beginning("dev"), ingest, *end]
