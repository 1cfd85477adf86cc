"""Backtest every forecaster on a sales file: `make backtest`. Nothing is saved.

Training writes the same figures, and RMSE, into the manifest of the version.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Column, Table

from scripts.command import CommandError, command
from services.batch import ingest
from services.contracts.model import Accuracy, Backtest
from services.forecasting import training
from services.forecasting.panel import Panel, UnusableSalesError
from services.forecasting.sales_faults import DataError

_LEVELS = {"total": "total", "store_nbr": "store", "family": "family"}
_MEASURES = {"mase": "MASE", "wape": "WAPE"}


def table(backtest: Backtest) -> Table:
    """A row per forecaster: the chosen combination first, the seasonal naive last."""
    columns = [f"{measure}\n{level}" for measure in _MEASURES.values() for level in _LEVELS.values()]
    result = Table(
        "forecaster",
        Column("series", justify="right"),
        *(Column(name, justify="right") for name in columns),
        title=f"{len(backtest.origins)} backtests of {backtest.horizon} days, from the days after "
        f"{backtest.origins[0]} to {backtest.origins[-1]}",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )

    def add(name: str, served: int, scores: Mapping[str, Accuracy]) -> None:
        values = [getattr(scores[level], measure) for measure in _MEASURES for level in _LEVELS]
        result.add_row(name, str(served), *(f"{value:.3f}" for value in values))

    add("as served", sum(backtest.chosen.values()), backtest.model)
    for name, scores in backtest.candidates.items():
        add(name.replace("_", " "), backtest.chosen[name], scores)
    add("seasonal naive", 0, backtest.seasonal_naive)
    return result


@command("make backtest")
def main(arguments: list[str] | None = None) -> int:
    """Backtest and print; 1 if the file cannot be used."""
    parser = argparse.ArgumentParser(prog="make backtest", description=__doc__)
    parser.add_argument("--data", type=Path, help="sales file; the default data set when absent")
    options = parser.parse_args(arguments)
    try:
        sales = ingest.read(options.data)
        backtest = training.fit(Panel.from_frame(sales.frame)).backtest
    except (DataError, OSError, UnusableSalesError) as error:
        raise CommandError(str(error)) from None
    console = Console()
    console.print(table(backtest))
    console.print(f"{backtest.coverage:.1%} of actual sales were inside intervals made of earlier windows.")
    console.print(f"Parameters: {backtest.tuned}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
