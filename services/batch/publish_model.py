"""Publish a version: move the registry's pointer to it. Rolling back is publishing an older version."""

import sys
from typing import Annotated, Any

import msgspec

from services.batch import command
from services.batch.warehouse import SalesTable
from services.contracts.messages import PredictionRow
from services.contracts.settings import TrainingSettings
from services.forecasting import training
from services.forecasting.artifact import CorruptModelError
from services.forecasting.forecast import Forecast
from services.forecasting.model_registry import ModelRegistry


def publish(
    settings: TrainingSettings,
    version: Annotated[str | None, "that of the sales in BigQuery and of this code when not given"] = None,
    generation: Annotated[int | None, "of the pointer that `compare` saw; any when not given"] = None,
) -> dict[str, Any]:
    """Move the pointer unless it is there already; returns where it points and pointed."""
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    version = version or training.version_of(
        SalesTable(settings.sales_table).read(), group_series=settings.group_series
    )
    pointer, present = registry.pointer() or (None, 0)
    previous = pointer.version if pointer else None
    if previous != version:
        _ask(registry.load(version).forecast)
        registry.publish(version, generation=present if generation is None else generation)
    return {"version": version, "changed": previous != version, "previous": previous}


def _ask(forecast: Forecast) -> None:
    """Ask for a series as a user of the services does; raise CorruptModelError if the answer is wrong."""
    try:
        series = forecast.select(store_nbr=forecast.store_nbr[:1], family=forecast.family[:1])
        rows = forecast.rows(forecast.horizon, series.tolist())
        if msgspec.json.decode(msgspec.json.encode(rows), type=list[PredictionRow]) != rows:
            raise ValueError("the answer to a request has other values")
    except ValueError as error:  # msgspec's are among them
        raise CorruptModelError(forecast.version, f"cannot be served: {error}") from None


main = command.entry_point(publish)

if __name__ == "__main__":
    sys.exit(main())
