"""Check sales against the contract, and the newest weeks against the window that a model learns from.

Drift is measured by the population stability index of a series' daily sales in units of its own mean, in bins
of equal weight: the sum of (p - q) ln(p / q). 0.1 is commonly called a small shift, 0.25 a large one
(Siddiqi 2006, Credit Risk Scorecards, ISBN 978-0-471-75451-0).
"""

import sys
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from services.batch import command, staging
from services.batch.errors import BatchError
from services.contracts.settings import BatchSettings
from services.forecasting import backtest
from services.forecasting.panel import Panel

_RECENT_DAYS = 28
_WINDOW_DAYS = 364
_BINS = 10
# Without any shift the index times n m / (n + m) is as chi squared with 9 degrees of freedom (Yurdakul 2018,
# https://scholarworks.wmich.edu/dissertations/3208), of which one in a thousand is above this: few values
# differ by chance, and that is no drift.
_CHANCE = 27.88
# For a bin that nothing falls into.
_LEAST_SHARE = 1e-4


def validate(
    settings: BatchSettings,
    snapshot: command.Snapshot,
    max_drift: Annotated[float, "default %(default)s"] = 0.25,
) -> dict[str, Any]:
    """Check the sales of a run; returns their size and drift."""
    panel = staging.read_sales(settings.project, snapshot)
    backtest.origins(panel)
    bad = panel.sales[np.isinf(panel.sales) | (panel.sales < 0)]
    if len(bad):
        raise BatchError(
            f"{snapshot}: {len(bad)} rows have sales that are negative or infinite, such as "
            f"{bad[0]:g}; mend them at their source and load them again"
        )
    value, limit = drift(panel)
    limit = max(limit, max_drift)
    if value > limit:
        raise BatchError(
            f"sales of the {_RECENT_DAYS} days to {panel.last_date} have drifted: index {value:.2f} "
            f"against the days before, at most {limit:.2f} is taken. If the change is real, run this with "
            "--max-drift above that value"
        )
    return {"series": len(panel.family), "days": panel.days, "drift": round(value, 4)}


def drift(panel: Panel) -> tuple[float, float]:
    """Population stability index of the newest weeks against the year before, and how much may be chance."""
    split = panel.days - _RECENT_DAYS
    window = panel.sales[:, max(0, split - _WINDOW_DAYS) : split]
    mean = np.nansum(window, axis=1) / np.maximum((~np.isnan(window)).sum(axis=1), 1)
    known = mean > 0
    before = window[known] / mean[known, None]
    after = panel.sales[known, split:] / mean[known, None]
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    expected, found = _shares(before, edges), _shares(after, edges)
    index = float(((found - expected) * np.log(found / expected)).sum())
    return index, _CHANCE * (1 / max(len(before), 1) + 1 / max(len(after), 1))


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return np.maximum(counts / max(len(values), 1), _LEAST_SHARE)


main = command.entry_point(validate)

if __name__ == "__main__":
    sys.exit(main())
