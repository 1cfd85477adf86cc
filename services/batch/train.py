"""Train a model on the sales in BigQuery, or on those of a run, backtest it, upload it to the model registry.

The version follows from data and code: when the registry has it already, there is nothing to do.
With GROUP_SERIES, stores are learned from in groups of so many series: one after the other, or before, by a
job that worked on what `stage_groups` wrote. The version is the same.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from services.batch import command, staging
from services.batch.groups import learned_from
from services.batch.warehouse import SalesTable
from services.contracts.settings import TrainingSettings
from services.forecasting import learning, training
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError
from services.forecasting.panel import Panel


def train(
    settings: TrainingSettings,
    snapshot: command.AllOrSnapshot = None,
    model: command.Model = command.BEST,
    groups: Annotated[str, "the folder that `stage_groups` named, of what a job learned"] = "",
) -> dict[str, Any]:
    """Train if need be; returns the version and its scores."""

    def learned_by_job(panels: Sequence[Panel], *_: object) -> list[learning.Learned]:
        return learned_from(settings.project, groups, len(panels))

    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    sales = sales_of(settings, snapshot)
    candidates, most = command.candidates(model), settings.group_series
    version = training.version_of(sales, candidates, group_series=most)
    try:
        manifest, trained = registry.manifest(version), False
    except UnknownVersionError:
        learn = learned_by_job if groups else learning.learn_here
        with tempfile.TemporaryDirectory() as folder:
            training.train(sales, Path(folder), candidates, group_series=most, learn=learn)
            manifest, trained = registry.upload(Path(folder)), True
    return {
        "version": manifest.version,
        "trained": trained,
        "series": manifest.series,
        "last_date": manifest.last_date,
        "backtest": manifest.backtest,
    }


def sales_of(settings: TrainingSettings, snapshot: str | None) -> Panel:
    """What a version is trained on: a snapshot, or all sales in BigQuery."""
    if snapshot:
        return staging.read_sales(settings.project, snapshot)
    return SalesTable(settings.sales_table).read()


main = command.entry_point(train)

if __name__ == "__main__":
    sys.exit(main())
