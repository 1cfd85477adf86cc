"""The classical methods against statsforecast, the backtest's measures against utilsforecast."""

import datetime
import shutil
import subprocess

import numpy as np
import pytest
from numpy.typing import NDArray

from services.forecasting import backtest
from services.forecasting.backtest import Window
from services.forecasting.models import CANDIDATES
from services.forecasting.panel import Panel
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

PACKAGES = ("statsforecast==2.1.1", "utilsforecast==0.2.17")
ORIGIN, DAYS = 364, 392
PROGRAM = """
import sys

import numpy as np
import pandas as pd
from statsforecast.models import AutoETS, CrostonSBA, Theta
from utilsforecast import losses

HORIZON = 28

with np.load(sys.argv[1]) as arrays:
    sales, forecast, origin = arrays["sales"], arrays["forecast"], int(arrays["origin"])

methods = {
    "croston": CrostonSBA(),
    "exponential_smoothing": AutoETS(season_length=7, model="ANA"),
    "theta": Theta(season_length=7, decomposition_type="additive"),
}
forecasts = {
    name: [method.forecast(y=row[:origin], h=HORIZON)["mean"] for row in sales]
    for name, method in methods.items()
}


def table(values: np.ndarray, first: int, name: str) -> pd.DataFrame:
    series, day = (each.ravel() for each in np.indices(values.shape))
    return pd.DataFrame({"unique_id": series, "ds": first + day, name: values.ravel()})


train, test = table(sales[:, :origin], 0, "y"), table(sales[:, origin : origin + HORIZON], origin, "y")
test["ours"] = table(forecast[:, :HORIZON], origin, "ours")["ours"]
whole = test.assign(unique_id=0)
np.savez(
    sys.argv[2],
    mase=losses.mase(test, ["ours"], seasonality=7, train_df=train)["ours"].mean(),
    wape=losses.nd(whole, ["ours"])["ours"].iloc[0],
    rmse=losses.rmse(whole, ["ours"])["ours"].iloc[0],
    bias=losses.bias(whole, ["ours"])["ours"].iloc[0] / whole["y"].mean(),
    **forecasts,
)
"""


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Seasonal, trending and intermittent series, and one that sells every day, so that none is closed."""
    random = np.random.default_rng(8)
    day = np.arange(DAYS)
    week = np.array([1.2, 0.9, 0.8, 1.0, 1.1, 1.4, 0.6])[day % 7]
    rows = [
        200 * week + random.normal(0, 10, DAYS),
        100 * week + 0.2 * day + random.normal(0, 5, DAYS),
        random.binomial(1, 0.2, DAYS) * random.integers(1, 20, DAYS),
        random.binomial(1, 0.5, DAYS) * random.integers(1, 5, DAYS),
        10 + random.poisson(20, DAYS),
    ]
    sales = np.maximum(np.array(rows, dtype=np.float64), 0)
    return Panel(datetime.date(2022, 1, 3), ("1",) * 5, tuple("ABCDE"), sales, None)


@pytest.fixture(scope="module")
def window(panel: Panel) -> Window:
    return Window(ORIGIN, np.tile(panel.sales[:, ORIGIN - 28 : ORIGIN], 3)[:, :60])


@pytest.fixture(scope="module")
def reference(
    panel: Panel, window: Window, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float64]]:
    """What the two libraries answer; installed on first use and kept in uv's cache."""
    uv = shutil.which("uv", path=str(REPOSITORY / "build/venvs/tools/bin")) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is absent: run `make install`")
    folder = tmp_path_factory.mktemp("reference")
    np.savez(folder / "given.npz", sales=panel.sales, forecast=window.sales, origin=ORIGIN)
    run = (uv, "run", "--quiet", "--isolated", "--no-project", "--python", "3.11")
    packages = [option for package in PACKAGES for option in ("--with", package)]
    if subprocess.run([*run, *packages, "python", "-c", ""], check=False, timeout=600).returncode:
        pytest.skip(f"{', '.join(PACKAGES)} cannot be installed here")
    subprocess.run(
        [*run, *packages, "python", "-c", PROGRAM, folder / "given.npz", folder / "answer.npz"],
        check=True,
        timeout=600,
    )
    with np.load(folder / "answer.npz") as answer:
        return dict(answer)


def own(panel: Panel, name: str) -> NDArray[np.float64]:
    known = panel.until(ORIGIN)
    return CANDIDATES[name](known, 28).sales


def test_croston_is_the_same(panel: Panel, reference: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_allclose(own(panel, "croston"), reference["croston"], rtol=1e-6)


@pytest.mark.parametrize(("name", "rows"), [("exponential_smoothing", [0, 1, 4]), ("theta", [0, 1, 4])])
def test_smoothing_is_near(
    panel: Panel, reference: dict[str, NDArray[np.float64]], name: str, rows: list[int]
) -> None:
    """Theirs optimize their parameters, ours choose among those of a grid."""
    error = np.abs(own(panel, name)[rows] - reference[name][rows]).mean(axis=1)
    assert (error < 0.05 * panel.sales[rows].mean(axis=1)).all()


@pytest.mark.parametrize("measure", ["mase", "wape", "rmse", "bias"])
def test_measures_are_the_same(
    panel: Panel, window: Window, reference: dict[str, NDArray[np.float64]], measure: str
) -> None:
    score = backtest.scores({"": backtest.errors([window], panel)}, panel, [window.origin])[""]["series"]
    assert getattr(score, measure) == pytest.approx(float(reference[measure]))
