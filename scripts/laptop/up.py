"""Bring the whole platform up on this machine: `make up`, or `make up DATA=sales.csv`.

Every step is idempotent: after a failure, a second run resumes; after a success, it changes nothing.
"""

import argparse
import json
import os
import pathlib
import sys

from rich.console import Console
from rich.table import Table

from infra import environment
from infra.environment import Environment
from infra.simulator import emulators, home
from scripts.command import CommandError
from scripts.deployment import verify
from scripts.laptop import cdktf, step_runner
from scripts.laptop.step_runner import Step
from scripts.paths import ROOT, SIMULATOR
from services.contracts import names
from services.contracts.model import Manifest
from services.contracts.settings import BatchSettings, to_environment
from services.forecasting.model_registry import ModelRegistry

# A service is ready once there is a model; objectives need the services' metrics.
AFTER_TRAINING = ("services", "observability")
RERUN = "fix the cause, then run `make up` again: it resumes"
STATUS = "look at `make status`; then run `make up` again, which restores what is missing"


def batch(command: str, *arguments: str) -> tuple[str, ...]:
    """A command of the batch service, in its own virtual environment."""
    return ("build/venvs/batch/bin/python", "-m", f"services.batch.{command}", *arguments)


def batch_settings(local: Environment) -> BatchSettings:
    """Settings of the batch commands: the tables and buckets of the `data` stack."""
    project = local.project_id
    return BatchSettings(
        model_bucket=names.bucket_name(project, names.MODELS_BUCKET),
        staging_bucket=names.bucket_name(project, names.STAGING_BUCKET),
        sales_table=f"{project}.{names.SALES_DATASET}.{names.SALES_TABLE}",
        scores_table=f"{project}.{names.PREDICTIONS_DATASET}.{names.SCORES_TABLE}",
        transient_scores_table=f"{project}.{names.PREDICTIONS_DATASET}.{names.TRANSIENT_SCORES_TABLE}",
        staging_dataset=f"{project}.{names.STAGING_DATASET}",
    )


def platform_steps(local: Environment, data: pathlib.Path | None) -> list[Step]:
    """The steps after the start of the emulators."""
    first = (f"{local.name}-{stack}" for stack in local.stacks if stack not in AFTER_TRAINING)
    rest = (f"{local.name}-{stack}" for stack in local.stacks if stack in AFTER_TRAINING)
    # With this option cdktf also ignores the order of the stacks, so they are deployed one at a time.
    alone = ("--ignore-missing-stack-dependencies", "--parallelism", "1")
    file = ("--file", str(data)) if data else ()
    return [
        Step("deploy all but the services", cdktf.command("deploy", *first), RERUN),
        Step(
            "load sales",
            batch("ingest", "--replace", *file),
            "fix the file as the message says; nothing was loaded",
        ),
        Step("train and backtest", batch("train"), RERUN),
        Step("publish the model", batch("publish_model"), RERUN),
        Step("deploy the services", cdktf.command("deploy", *rest, *alone), STATUS),
        Step("check the forecasts", ("scripts/verify", "local"), STATUS),
    ]


def resource_counts(local: Environment) -> dict[str, int]:
    """How many resources Terraform manages, by stack."""
    counts: dict[str, int] = {}
    for stack in local.stacks:
        state = json.loads(local.local_state(stack).read_text())
        counts[stack] = sum(
            len(each["instances"]) for each in state["resources"] if each["mode"] == "managed"
        )
    return counts


def served_manifest(local: Environment) -> Manifest:
    """The manifest of the published model."""
    registry = ModelRegistry(names.bucket_name(local.project_id, names.MODELS_BUCKET), local.project_id)
    current = registry.pointer()
    if current is None:
        raise LookupError("no model is published")
    return registry.manifest(current[0].version)


def summary(local: Environment, taken: dict[str, float]) -> list[Table]:
    """Addresses, quality of the model, and duration of each step."""
    url = verify.url_of(local, "prediction")
    manifest = served_manifest(local)
    counts = resource_counts(local)
    places = Table("what", "where", title="The platform is up")
    places.add_row("forecast over HTTP", f"{url}/predict?range=7")
    places.add_row("forecast over Pub/Sub", "topic sale-range; replies on topic sale-predictions")
    for name, address in emulators.endpoints().environment.items():
        places.add_row(name, address)
    places.add_row("resources", f"{sum(counts.values())} in {len(counts)} stacks")
    places.add_row("logs", str(home.folder("logs")))
    places.add_row("stop it all", "make down")

    backtest = manifest.backtest
    score = Table(
        "level",
        "MASE",
        "seasonal naive",
        "WAPE",
        title=f"Model {manifest.version}: {manifest.series} series, {len(backtest.origins)} backtests of "
        f"{backtest.horizon} days",
    )
    for level, own in backtest.model.items():
        naive = backtest.seasonal_naive[level]
        score.add_row(level, f"{own.mase:.3f}", f"{naive.mase:.3f}", f"{own.wape:.3f}")

    times = Table("step", "seconds", title="Time")
    for name, seconds in taken.items():
        times.add_row(name, f"{seconds:.1f}")
    times.add_row("all", f"{sum(taken.values()):.1f}")
    return [places, score, times]


def main() -> int:
    """Run every step and print the summary; 1 at the first step that fails."""
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="sales file; the default data set when absent")
    arguments = parser.parse_args()
    console = Console()
    installed: float = json.loads((ROOT / "build" / "install.json").read_text())["seconds"]
    taken = {"install": installed}
    logs = home.folder("logs") / "up"
    start = Step("start the emulators", (*SIMULATOR, "up"), RERUN)
    try:
        local = environment.load("local")
        if arguments.data and not arguments.data.is_file():
            raise CommandError(f"no such file: {arguments.data}")
        taken |= step_runner.run([start], console=console, logs=logs, environment=cdktf.VARIABLES)
        variables = (
            cdktf.VARIABLES | emulators.endpoints().environment | to_environment(batch_settings(local))
        )
        data = arguments.data.absolute() if arguments.data else None
        taken |= step_runner.run(
            platform_steps(local, data), console=console, logs=logs, environment=variables
        )
    except (CommandError, environment.InvalidEnvironmentError, emulators.EmulatorError) as error:
        print(f"make up: {error}", file=sys.stderr)
        return 1
    os.environ.update(variables)
    for table in summary(local, taken):
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
