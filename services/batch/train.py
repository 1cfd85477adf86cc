"""Train a model on the sales in BigQuery, or on those of a run, backtest it, upload it to the model registry.

The version follows from data and code: when the registry has it already, there is nothing to do.
With GROUP_SERIES, stores are learned from in groups of so many series: one after the other, as a job of Beam
if its options come last, beginning with --runner, or before, by a job that worked on what `stage_groups`
wrote. The version is the same.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from services.batch import command, staging
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings, TrainingSettings
from services.forecasting import learning, training
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError
from services.forecasting.panel import Panel


def train(
    settings: BatchSettings,
    snapshot: Annotated[str | None, "what `extract` wrote; all sales in BigQuery when not given"] = None,
    model: command.Model = command.BEST,
    groups: Annotated[str, "the folder that `stage_groups` named, of what a job learned"] = "",
    beam: Sequence[str] = (),
) -> dict[str, Any]:
    """Train if need be; returns the version and its scores.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
        BatchError: the job has not learned from a group.
    """

    def learned_by_job(panels: Sequence[Panel], *_: object) -> list[learning.Learned]:
        return staging.read_learned(settings.project, groups, len(panels))

    def learn_by(version: str) -> learning.Learn:
        if groups:
            return learned_by_job
        if not beam:
            return learning.learn_here
        # Importing Beam takes seconds.
        from services.batch.train_groups import learn_with

        return learn_with(settings, version, model, beam)

    return train_by(learn_by, settings, snapshot, model)


def train_by(
    learn_by: Callable[[str], learning.Learn], settings: TrainingSettings, snapshot: str | None, model: str
) -> dict[str, Any]:
    """Train if need be; returns the version and its scores.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    sales = sales_of(settings, snapshot)
    candidates, most = command.candidates(model), settings.group_series
    version = training.version_of(sales, candidates, group_series=most)
    try:
        manifest, trained = registry.manifest(version), False
    except UnknownVersionError:
        with tempfile.TemporaryDirectory() as folder:
            training.train(sales, Path(folder), candidates, group_series=most, learn=learn_by(version))
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


main = command.EntryPoint(train, beam=True)

if __name__ == "__main__":
    sys.exit(main())
