"""Report how well a version forecasts: its backtest, and how the published one did on the days since then."""

import sys
from typing import Annotated, Any

import numpy as np

from services.batch import command, staging
from services.contracts.settings import BatchSettings
from services.forecasting.forecast import Forecast
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel


def backtest(
    settings: BatchSettings, version: Annotated[str, "whose backtest"], snapshot: command.Snapshot
) -> dict[str, Any]:
    """Gather the scores."""
    registry = ModelRegistry(settings.model_bucket, project=settings.project)
    report = registry.manifest(version).backtest
    pointer = registry.pointer()
    sales = staging.read_sales(settings.project, snapshot)
    return {
        "version": version,
        "origins": len(report.origins),
        "model": report.model,
        "seasonal_naive": report.seasonal_naive,
        "coverage": report.coverage,
        "country": report.country,
        "holiday_effects": report.holiday_effects,
        "published": pointer and realised(registry.load(pointer[0].version).forecast, sales),
    }


def realised(forecast: Forecast, sales: Panel) -> dict[str, Any]:
    """How a forecast did on the days that came in since: days, WAPE, share inside the interval."""
    row_of = {key: row for row, key in enumerate(zip(sales.store_nbr, sales.family, strict=True))}
    keys = list(zip(forecast.store_nbr, forecast.family, strict=True))
    known = [index for index, key in enumerate(keys) if key in row_of]
    first = (forecast.dates[0] - sales.first_date).days
    days = min(sales.days - first, forecast.horizon)
    if days <= 0 or not known:
        return {"version": forecast.version, "days": 0}
    actual = sales.sales[[row_of[keys[index]] for index in known], first : first + days]
    error = np.nansum(np.abs(actual - forecast.sales[known, :days]))
    inside = (forecast.lower[known, :days] <= actual) & (actual <= forecast.upper[known, :days])
    return {
        "version": forecast.version,
        "days": days,
        "wape": float(error / max(np.nansum(actual), 1e-9)),
        "coverage": float(inside[~np.isnan(actual)].mean()),
    }


main = command.entry_point(backtest)

if __name__ == "__main__":
    sys.exit(main())
