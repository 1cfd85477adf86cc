"""What was sold before the forecast begins: the recent past, as services show it beside the forecast."""

import datetime
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class History:
    """Sales of every series on the last days of the training data.

    Attributes:
        dates: consecutive days, `HISTORY_DAYS` or as many as the data has; the last is the last training day.
        sales: units sold, float32 of shape (series, days), series as in the version's `Forecast`; NaN where
            the data has no row, on the days before a series began.

    Raises:
        ValueError: the parts do not satisfy the above.
    """

    dates: tuple[datetime.date, ...]
    sales: NDArray[np.float32]

    def __post_init__(self) -> None:
        day = datetime.timedelta(days=1)
        if not self.dates or any(left + day != right for left, right in pairwise(self.dates)):
            raise ValueError("dates must be consecutive, and at least one")
        if self.sales.ndim != 2 or self.sales.shape[1] != len(self.dates) or self.sales.dtype != np.float32:
            raise ValueError(f"sales must be float32 of {len(self.dates)} days")
        if not ((self.sales >= 0) & np.isfinite(self.sales) | np.isnan(self.sales)).all():
            raise ValueError("sales must be >= 0 and finite, or NaN")
