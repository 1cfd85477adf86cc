"""Sums of series at a level of aggregation."""

import numpy as np
from numpy.typing import NDArray

from services.forecasting.panel import Panel


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
    """Sums by group and day; NaN where no member has a value."""
    total = np.zeros((groups.max() + 1, values.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, groups, np.nan_to_num(values))
    np.add.at(count, groups, ~np.isnan(values))
    return np.where(count > 0, total, np.nan)
