"""Stage the groups of stores that `train` learns from, for a job that does so before it.

There is nothing to stage where the registry has the version already, or where all series are one group.
`services.batch.job` runs that job.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from services.batch import command, staging
from services.batch.train import sales_of
from services.contracts.settings import BatchSettings
from services.forecasting import training
from services.forecasting.learning import split, store_groups
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError

GROUPS_FILE: Final = "groups.json"


class StagedGroups(msgspec.Struct, frozen=True):
    """What a job learns from."""

    staged: list[str]
    model: str
    origins: Sequence[int]


def stage_groups(
    settings: BatchSettings, snapshot: command.AllOrSnapshot = None, model: command.Model = command.BEST
) -> dict[str, Any]:
    """Stage them; returns their folder, empty if there is nothing to stage.

    Raises:
        UnusableSalesError: the sales are incomplete or too short.
    """
    sales = sales_of(settings, snapshot)
    version = training.version_of(sales, command.candidates(model), group_series=settings.group_series)
    if len(store_groups(sales, settings.group_series)) == 1 or _known(settings, version):
        return {"version": version, "groups": ""}
    groups, origins = split(sales.to_learn_from(), settings.group_series)
    folder = f"gs://{settings.staging_bucket}/training/{version}"
    staged = staging.write_groups(settings.project, folder, groups)
    told = msgspec.json.encode(StagedGroups(staged, model, origins))
    staging.upload(settings.project, f"{folder}/{GROUPS_FILE}", told)
    return {"version": version, "groups": folder}


def _known(settings: BatchSettings, version: str) -> bool:
    try:
        ModelRegistry(settings.model_bucket, project=settings.project).manifest(version)
    except UnknownVersionError:
        return False
    return True


main = command.EntryPoint(stage_groups)

if __name__ == "__main__":
    sys.exit(main())
