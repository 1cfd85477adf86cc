"""Run a command of the batch service on an environment's tables and buckets: `scripts/step dev train`.

    scripts/step dev ingest --file sales.csv
    scripts/step dev train
    scripts/step dev publish_model

It runs on this machine with the caller's own credentials (`gcloud auth application-default login`).
"""

import argparse
import os

from infra.environment import Environment
from scripts.command import TARGET, argument, command, use_environment
from scripts.deployment.access import check_login
from scripts.paths import VENVS
from services.contracts import names
from services.contracts.settings import BatchSettings, to_environment


def settings(target: Environment) -> BatchSettings:
    """Settings of the batch commands: the tables and buckets of the `data` stack."""
    project = target.project_id
    return BatchSettings(
        model_bucket=names.bucket_name(project, names.MODELS_BUCKET),
        staging_bucket=names.bucket_name(project, names.STAGING_BUCKET),
        sales_table=f"{project}.{names.SALES_DATASET}.{names.SALES_TABLE}",
        scores_table=f"{project}.{names.PREDICTIONS_DATASET}.{names.SCORES_TABLE}",
        transient_scores_table=f"{project}.{names.PREDICTIONS_DATASET}.{names.TRANSIENT_SCORES_TABLE}",
        staging_dataset=f"{project}.{names.STAGING_DATASET}",
        group_series=target.batch.group_series,
    )


@command(
    "step",
    TARGET,
    argument("module", metavar="COMMAND", help="module of services/batch: ingest, train ..."),
    argument("arguments", nargs=argparse.REMAINDER, help="its own"),
)
def main(target: Environment, module: str, arguments: list[str]) -> int:
    """Replace this process by the command."""
    use_environment(target)
    if not target.simulated:
        check_login()
    variables = {**os.environ, **to_environment(settings(target))}
    python = str(VENVS / "batch" / "bin" / "python")
    os.execve(python, [python, "-m", f"services.batch.{module}", *arguments], variables)  # noqa: S606 -- no shell is needed
