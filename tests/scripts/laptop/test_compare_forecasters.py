"""`make backtest`: every forecaster on a sales file, with the figures of its manifest."""

import re
from pathlib import Path

import pytest

from scripts.laptop import compare_forecasters as backtest
from services.contracts.model import LEVELS
from services.forecasting import training
from services.forecasting.models import CANDIDATES
from services.forecasting.panel import Panel
from tests.forecasting.conftest import make_sales


def test_every_forecaster_with_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sales = make_sales(168, stores=1, families=2)
    sales.write_csv(tmp_path / "sales.csv")
    assert backtest.main(["--data", str(tmp_path / "sales.csv")]) == 0
    printed = capsys.readouterr().out
    assert re.match(r"✓ backtest of .*/sales.csv \d+\.\d s\n", printed)
    expected = training.fit(Panel.from_frame(sales)).backtest
    assert list(expected.chosen) == list(expected.candidates)
    rows = {
        "as served": (2, expected.model),
        **{name.replace("_", " "): (expected.chosen[name], expected.candidates[name]) for name in CANDIDATES},
        "seasonal naive": (0, expected.seasonal_naive),
    }
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for name, (series, scores) in rows.items():
        mase = [f"{scores[level].mase:.3f}" for level in LEVELS]
        total = scores["total"]
        assert " ".join([name, str(series), *mase, f"{total.wape:.3f}", f"{total.bias:+.1%}"]) in lines
    assert f"{expected.coverage:.1%} of actual sales" in printed
    assert expected.coverage_by is not None
    assert f"store {expected.coverage_by.levels['store_nbr']:.1%}" in printed


def test_a_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sales(100).write_csv(tmp_path / "short.csv")
    assert backtest.main(["--data", str(tmp_path / "short.csv")]) == 1
    assert "100 days since the first sale (2022-01-03 to 2022-04-12) are too few" in capsys.readouterr().err
    assert backtest.main(["--data", str(tmp_path / "absent.csv")]) == 1
    assert "absent.csv" in capsys.readouterr().err
