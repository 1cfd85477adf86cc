"""Train a model on the sales in BigQuery, or on those of a run, backtest it, upload it to the model registry.

The version follows from data and code: when the registry has it already, there is nothing to do.
With GROUP_SERIES, stores are learned from in groups of so many series: one after the other, or as a job of
Beam if its options come last, beginning with --runner. The version is the same.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.batch import command, staging
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings, TrainingSettings
from services.forecasting import learning, training
from services.forecasting.model_registry import ModelRegistry, UnknownVersionError


def train(
    settings: BatchSettings, snapshot: str | None, model: str, beam: list[str] | None = None
) -> dict[str, Any]:
    """Train if need be, with a job of Beam's if its options are given; returns the version and its scores.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
    """

    def learn_by(version: str) -> learning.Learn:
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

    Args:
        learn_by: what learns from the groups of a version.
        settings: of the command.
        snapshot: what `extract` wrote; None for all sales in BigQuery.
        model: kind of model.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
    """
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    if snapshot:
        sales = staging.read_sales(settings.project, snapshot)
    else:
        sales = SalesTable(settings.sales_table).read()
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


main = command.EntryPoint(
    train,
    __doc__,
    ("--snapshot", {"help": "what `extract` wrote; all sales in BigQuery when not given"}),
    command.MODEL,
    beam=True,
)

if __name__ == "__main__":
    sys.exit(main())
