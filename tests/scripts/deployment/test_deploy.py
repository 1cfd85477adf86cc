"""The steps of `scripts/deploy` in the cloud. tests/simulated takes those of the simulated one."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from infra import environment
from scripts.deployment.deploy import Deployment
from scripts.deployment.steps import Step, StepRunner, cdktf
from tests.conftest import Models, Process


class Noted(StepRunner):
    """Takes steps down instead of taking them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Console(quiet=True), folder, "")
        self.commands: list[tuple[str, ...]] = []
        self.as_synthesized: list[str] = []

    def run(self, step: Step, variables: Mapping[str, str]) -> None:
        self.commands.append(tuple(step.command))
        if "CDKTF_SKIP_SYNTH" in variables:
            self.as_synthesized.append(step.name)


def commands(name: str, folder: Path) -> list[tuple[str, ...]]:
    runner = Noted(folder / "logs")
    Deployment(environment.load(name), folder / "sales.csv", runner).run()
    assert runner.as_synthesized == ["deploy the services", "check the forecasts"], "images are built before"
    return runner.commands


def beginning(name: str) -> list[tuple[str, ...]]:
    """Whatever needs an API, a service agent, a quota, a repository or an image comes after it is there."""
    return [
        ("scripts/preflight", name),
        ("scripts/bootstrap.sh", name),
        ("scripts/preflight", name, "quotas", "ranges"),
        cdktf("deploy", f"{name}-foundation", f"{name}-registry"),
        *(("scripts/push_image.sh", image, name) for image in ("batch", "prediction", "streaming")),
        cdktf("deploy", f"{name}-cluster", f"{name}-data", f"{name}-messaging"),
    ]


def test_with_airflow_the_first_model_is_trained_here(tmp_path: Path) -> None:
    assert commands("prod", tmp_path) == [
        *beginning("prod"),
        ("scripts/step", "prod", "ingest", "--file", str(tmp_path / "sales.csv")),
        ("scripts/step", "prod", "train"),
        ("scripts/step", "prod", "publish_model"),
        cdktf("deploy", "prod-services", "prod-observability", "prod-orchestration"),
        ("scripts/verify", "prod"),
    ]


def test_without_airflow_a_job_trains_it_once(
    storage_emulator: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator.url)
    models = Models(storage_emulator.url, tmp_path / "models", "sales-forecast-dev-models")
    models.bucket.create()
    ingest = ("scripts/step", "dev", "ingest", "--file", str(tmp_path / "sales.csv"))
    end = [cdktf("deploy", "dev-services", "dev-observability"), ("scripts/verify", "dev")]
    first = commands("dev", tmp_path)
    assert first == [*beginning("dev"), ingest, ("scripts/first_model", "dev"), *end]
    models.publish("v1")
    assert commands("dev", tmp_path) == [*beginning("dev"), ingest, *end]
