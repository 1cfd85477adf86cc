"""Rolling-origin backtest: how well a model would have forecast windows it had not seen."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.model import HORIZON_DAYS, LEVELS, Accuracy
from services.forecasting.cgroup import memory, processors
from services.forecasting.levels import groups, summed
from services.forecasting.panel import BLOCK, SEASON, Forecaster, Panel, UnusableSalesError

HORIZON = 28
ORIGINS = 8
STEP = 14
"""Days between origins; the last window ends with the data."""
MIN_ORIGINS = 3
"""Data too short for ORIGINS gets fewer; with three, one window is over before another begins, so that
intervals made of the first can be tried on the last."""
MIN_TRAINING_DAYS = 112
"""Before the first origin."""
_BYTES_A_VALUE = 32  # of memory for each day of a series while a model is fitted to it
MIN_DAYS = MIN_TRAINING_DAYS + (MIN_ORIGINS - 1) * STEP + HORIZON


@dataclass(frozen=True, eq=False)
class Window:
    """A forecast from one origin.

    Attributes:
        origin: number of days known.
        sales: forecast of the next HORIZON_DAYS days, shape (series, HORIZON_DAYS).
    """

    origin: int
    sales: NDArray[np.float64]


def origins(panel: Panel) -> list[int]:
    """Numbers of days known at each origin, ascending.

    Raises:
        UnusableSalesError: the panel is too short for MIN_ORIGINS.
    """
    first = int((np.nan_to_num(panel.sales) > 0).any(axis=0).argmax())
    last = panel.days - HORIZON
    possible = [last - STEP * back for back in reversed(range(ORIGINS))]
    chosen = [origin for origin in possible if origin - first >= MIN_TRAINING_DAYS]
    if len(chosen) < MIN_ORIGINS:
        raise UnusableSalesError(
            f"{panel.days - first} days since the first sale ({panel.date(first)} to {panel.last_date}) are "
            f"too few to train and backtest a model: at least {MIN_DAYS} are needed"
        )
    return chosen


def run(forecaster: Forecaster, panel: Panel, origins: Sequence[int]) -> list[Window]:
    """Forecast from each origin with what was known then.

    Raises:
        UnusableSalesError: the panel holds nothing to learn from.
    """

    def forecast(origin: int) -> Window:
        return Window(origin, forecaster(panel.until(origin), HORIZON_DAYS).sales)

    fitting = panel.sales.size * _BYTES_A_VALUE
    with ThreadPoolExecutor(max(1, min(processors(), memory() // 2 // fitting))) as threads:
        return list(threads.map(forecast, origins))


def scores(windows: Mapping[str, Sequence[Window]], panel: Panel) -> dict[str, dict[str, Accuracy]]:
    """Errors of each forecaster's windows at each level of aggregation, averaged over series and origins.

    MASE is the mean absolute error over that of the seasonal naive forecast within the days known at the
    origin (Hyndman & Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001). A series that had
    not begun a season before an origin, or never changed until then, has no such scale and is left out.

    Raises:
        UnusableSalesError: no series has one, or nothing was sold in any window.
    """
    result: dict[str, dict[str, Accuracy]] = {name: {} for name in windows}
    for level in LEVELS:
        members = groups(panel, level)
        actual = summed(panel.sales, members)
        scales = {
            window.origin: _scale(actual[:, : window.origin]) for window in next(iter(windows.values()))
        }
        for name, own in windows.items():
            result[name][level] = _score(own, panel, members, actual, scales)
    return result


def _scale(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean absolute error of the seasonal naive forecast of each row, 0 where there is none."""
    parts: list[NDArray[np.float64]] = []
    for first in range(0, len(known), BLOCK):
        block = known[first : first + BLOCK]
        changes = np.abs(block[:, SEASON:] - block[:, :-SEASON])
        counted = (~np.isnan(changes)).sum(axis=1)
        parts.append(np.nansum(changes, axis=1) / np.maximum(counted, 1))
    return np.concatenate(parts)


def _score(
    windows: Sequence[Window],
    panel: Panel,
    groups: NDArray[np.intp],
    actual: NDArray[np.float64],
    scales: Mapping[int, NDArray[np.float64]],
) -> Accuracy:
    scaled: list[NDArray[np.float64]] = []
    errors: list[NDArray[np.float64]] = []
    sales: list[NDArray[np.float64]] = []
    for window in windows:
        scale = scales[window.origin]
        test = actual[:, window.origin : window.origin + HORIZON]
        # What a series sold before it began is not known, and so is not an error either.
        begun = ~np.isnan(panel.sales[:, window.origin : window.origin + HORIZON])
        error = test - summed(np.where(begun, window.sales[:, :HORIZON], np.nan), groups)
        has_scale = (scale > 0) & ~np.isnan(error).all(axis=1)
        scaled.append(np.nanmean(np.abs(error[has_scale]), axis=1) / scale[has_scale])
        errors.append(error[~np.isnan(error)])
        sales.append(test[~np.isnan(error)])
    error, mase, sold = (np.concatenate(parts) for parts in (errors, scaled, sales))
    if len(mase) == 0 or sold.sum() == 0:
        raise UnusableSalesError(
            "nothing was sold in the backtest's windows, or never a different number before"
        )
    return Accuracy(
        mase=float(mase.mean()),
        wape=float(np.abs(error).sum() / sold.sum()),
        bias=float(-error.sum() / sold.sum()),
        rmse=float(np.sqrt((error**2).mean())),
    )
