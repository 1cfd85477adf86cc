"""A forecast made the way demos do: the model is called once a day and request, fed with its own answers.

BENCH_MODEL=1 asks for it; otherwise the answer is a constant and what is measured is the serving alone.
"""

import os

import numpy as np

LAGS = 14
CONSTANT = [41.5, 38.25, 57.125, 60.0, 66.75, 12.5, 0.0]


class RecursiveForecaster:
    """scikit-learn's HistGradientBoostingRegressor with its defaults, on lags and the weekday."""

    def __init__(self) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        random = np.random.default_rng(7)
        day = np.arange(720)
        sales = random.poisson(40 * (1 + 0.3 * np.sin(day / 58)) * (1 + (day % 7) / 6)).astype(float)
        lagged = np.lib.stride_tricks.sliding_window_view(sales, LAGS)[:-1]
        features = np.column_stack([lagged, day[LAGS:] % 7])
        self._model = HistGradientBoostingRegressor(random_state=7).fit(features, sales[LAGS:])
        self._recent = sales[-LAGS:].tolist()
        self._next = len(day)

    def forecast(self, days: int) -> list[float]:
        """Expected sales of the next days."""
        known = [*self._recent]
        for ahead in range(days):
            features = np.array([[*known[-LAGS:], (self._next + ahead) % 7]])
            known.append(float(self._model.predict(features)[0]))
        return known[LAGS:]


class Constant:
    """The same answer whatever is asked."""

    def forecast(self, days: int) -> list[float]:
        """A week's sales."""
        return CONSTANT


def load() -> RecursiveForecaster | Constant:
    """What the environment asks for."""
    return RecursiveForecaster() if os.environ.get("BENCH_MODEL") else Constant()
