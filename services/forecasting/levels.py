"""Sums of series at a level of aggregation."""

import numpy as np
from numpy.typing import NDArray

from services.forecasting.panel import Panel

_DAYS = 64


def groups(panel: Panel, level: str) -> NDArray[np.intp]:
    """Number of the group that each series belongs to; groups are sorted by name."""
    match level:
        case "total":
            return np.zeros(len(panel.family), dtype=np.intp)
        case "series":
            return np.arange(len(panel.family))
        case _:
            return np.unique(np.array(getattr(panel, level)), return_inverse=True)[1]


def summed(values: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums by group and day, NaN where no member has a value; the values themselves if each is a group."""
    if np.array_equal(groups, np.arange(len(groups))):
        return values
    count = groups.max() + 1
    sums = np.empty((count, values.shape[1]))
    for first in range(0, values.shape[1], _DAYS):
        # Some days at a time, since one column of a matrix touches all of its memory.
        for day, column in enumerate(np.ascontiguousarray(values[:, first : first + _DAYS].T), first):
            known = ~np.isnan(column)
            total = np.bincount(groups[known], column[known], count)
            sums[:, day] = np.where(np.bincount(groups[known], minlength=count) > 0, total, np.nan)
    return sums
