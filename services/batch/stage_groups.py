"""Stage the groups of stores that `train` learns from, for a job that does so before it.

There is nothing to stage where the registry has the version already, or where all series are one group.
`services.batch.job` runs that job.
"""

import sys
from typing import Any

from services.batch import command, groups
from services.batch.train import sales_of
from services.contracts.settings import BatchSettings
from services.forecasting import training
from services.forecasting.learning import split, store_groups
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError


def stage_groups(
    settings: BatchSettings, snapshot: command.AllOrSnapshot = None, model: command.Model = command.BEST
) -> dict[str, Any]:
    """Stage them; returns their folder, empty if there is nothing to stage."""
    sales = sales_of(settings, snapshot)
    version = training.version_of(sales, command.candidates(model), group_series=settings.group_series)
    if len(store_groups(sales, settings.group_series)) == 1 or _known(settings, version):
        return {"version": version, "groups": ""}
    panels, origins = split(sales.to_learn_from(), settings.group_series)
    folder = f"gs://{settings.staging_bucket}/training/{version}"
    groups.stage(settings.project, folder, panels, model, origins)
    return {"version": version, "groups": folder}


def _known(settings: BatchSettings, version: str) -> bool:
    try:
        ModelRegistry(settings.model_bucket, project=settings.project).manifest(version)
    except UnknownVersionError:
        return False
    return True


main = command.entry_point(stage_groups)

if __name__ == "__main__":
    sys.exit(main())
