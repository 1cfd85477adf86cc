"""Rolling-origin backtest: how well a model would have forecast windows it had not seen."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from services.contracts.model import HORIZON_DAYS, LEVELS, Accuracy
from services.forecasting.cgroup import memory, processors
from services.forecasting.panel import (
    BLOCK,
    SEASON,
    Fitted,
    Forecaster,
    Matrix,
    Panel,
    UnusableSalesError,
    summed,
)

HORIZON = 28
ORIGINS = 8
STEP = 14  # days between origins; the last window ends with the data
MIN_TRAINING_DAYS = 112  # before the first origin
# Data too short for ORIGINS gets fewer; with three, one window is over before another begins, so that
# intervals made of the first can be tried on the last.
_MIN_ORIGINS = 3
_MIN_DAYS = MIN_TRAINING_DAYS + (_MIN_ORIGINS - 1) * STEP + HORIZON
_BYTES_A_VALUE = 32  # of memory for each day of a series while a model is fitted to it


@dataclass(frozen=True, eq=False)
class Window:
    """A forecast from one origin."""

    origin: int  # number of days known
    sales: Matrix  # forecast of the next HORIZON_DAYS days, shape (series, HORIZON_DAYS)


def origins(panel: Panel) -> list[int]:
    """Numbers of days known at each origin, ascending; UnusableSalesError if the panel is too short."""
    first = int((np.nan_to_num(panel.sales) > 0).any(axis=0).argmax())
    last = panel.days - HORIZON
    possible = [last - STEP * back for back in reversed(range(ORIGINS))]
    chosen = [origin for origin in possible if origin - first >= MIN_TRAINING_DAYS]
    if len(chosen) < _MIN_ORIGINS:
        raise UnusableSalesError(
            f"{panel.days - first} days since the first sale ({panel.date(first)} to {panel.last_date}) are "
            f"too few to train and backtest a model: at least {_MIN_DAYS} are needed"
        )
    return chosen


def run(forecaster: Forecaster, panel: Panel, origins: Sequence[int]) -> list[Fitted]:
    """Forecast HORIZON_DAYS days from each origin with what was known then; raises what a Forecaster does."""
    known = [panel.until(origin) for origin in origins]
    fitting = panel.sales.size * _BYTES_A_VALUE
    with ThreadPoolExecutor(max(1, min(processors(), memory() // 2 // fitting))) as threads:
        return list(threads.map(forecaster, known, repeat(HORIZON_DAYS)))


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Sums over the days of each window at a level of aggregation, shape (windows, groups).

    A day on which no series of a group had begun is not counted: what is not known is not an error either.
    """

    absolute: Matrix
    squared: Matrix
    excess: Matrix  # forecast less sold
    sold: Matrix
    days: Matrix  # number of days counted


Errors = Mapping[str, Mapping[str, ErrorSums]]  # of each forecaster, by name, at each level


def errors(windows: Sequence[Window], panel: Panel) -> dict[str, ErrorSums]:
    """Errors of a forecaster at each level of aggregation; the windows are over."""
    result: dict[str, ErrorSums] = {}
    for level in LEVELS:
        members = panel.groups(level)
        sums: list[Matrix] = []
        for window in windows:
            actual = panel.sales[:, window.origin : window.origin + HORIZON]
            excess = summed(window.sales[:, :HORIZON] - actual, members)
            each = np.abs(excess), excess**2, excess, summed(actual, members), ~np.isnan(excess)
            sums.append(np.nansum(np.stack(each), axis=2))
        result[level] = ErrorSums(*np.stack(sums, axis=1))
    return result


def scores(errors: Errors, panel: Panel, origins: Sequence[int]) -> dict[str, dict[str, Accuracy]]:
    """Scores of each forecaster's errors at each level of aggregation, averaged over series and origins.

    MASE is the mean absolute error over that of the seasonal naive forecast within the days known at the
    origin (Hyndman & Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001). A series that had
    not begun a season before an origin, or never changed until then, has no such scale and is left out;
    UnusableSalesError says that no series has one, or that nothing was sold in any window.
    """
    result: dict[str, dict[str, Accuracy]] = {name: {} for name in errors}
    for level in LEVELS:
        actual = summed(panel.sales, panel.groups(level))
        scale = np.stack([_scale(actual[:, :origin]) for origin in origins])
        for name, of_level in errors.items():
            own = of_level[level]
            counted = (scale > 0) & (own.days > 0)
            sold = own.sold.sum()
            if not counted.any() or sold == 0:
                raise UnusableSalesError(
                    "nothing was sold in the backtest's windows, or never a different number before"
                )
            result[name][level] = Accuracy(
                mase=float((own.absolute[counted] / own.days[counted] / scale[counted]).mean()),
                wape=float(own.absolute.sum() / sold),
                bias=float(own.excess.sum() / sold),
                rmse=float(np.sqrt(own.squared.sum() / own.days.sum())),
            )
    return result


def _scale(known: Matrix) -> Matrix:
    """Mean absolute error of the seasonal naive forecast of each row, 0 where there is none."""
    parts: list[Matrix] = []
    for first in range(0, len(known), BLOCK):
        block = known[first : first + BLOCK]
        changes = np.abs(block[:, SEASON:] - block[:, :-SEASON])
        counted = (~np.isnan(changes)).sum(axis=1)
        parts.append(np.nansum(changes, axis=1) / np.maximum(counted, 1))
    return np.concatenate(parts)
