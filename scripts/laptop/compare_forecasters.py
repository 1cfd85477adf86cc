"""Backtest every forecaster on a sales file: `make backtest`. Nothing is saved.

Training writes the same figures, and RMSE, into the manifest of the version.
"""

from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Column, Table

from scripts.command import CommandError, argument, command
from scripts.progress import Progress
from services.batch import ingest
from services.contracts.model import LEVELS, Backtest
from services.forecasting import training
from services.forecasting.panel import Panel, UnusableSalesError
from services.forecasting.table_file import DataError


def table(backtest: Backtest) -> Table:
    """A row per forecaster: the chosen combination first, the seasonal naive last."""
    result = Table(
        "forecaster",
        Column("series", justify="right"),
        *(Column(f"MASE\n{_name(level)}", justify="right") for level in LEVELS),
        *(Column(name, justify="right") for name in ("WAPE\ntotal", "bias")),
        title=f"{len(backtest.origins)} backtests of {backtest.horizon} days, from the days after "
        f"{backtest.origins[0]} to {backtest.origins[-1]}",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )

    rows = [("as served", sum(backtest.chosen.values()), backtest.model)]
    rows += [
        (name.replace("_", " "), backtest.chosen[name], each) for name, each in backtest.candidates.items()
    ]
    rows += [("seasonal naive", 0, backtest.seasonal_naive)]
    for name, served, scores in rows:
        total = scores["total"]
        errors = (*(scores[level].mase for level in LEVELS), total.wape)
        result.add_row(name, str(served), *(f"{error:.3f}" for error in errors), f"{total.bias:+.1%}")
    return result


def _name(level: str) -> str:
    return "store" if level == "store_nbr" else level


@command("backtest", argument("--data", type=Path, help="sales file; the default data set when absent"))
def main(data: Path | None) -> int:
    """Backtest and print; 1 if the file cannot be used."""
    console = Console()
    try:
        sales = ingest.read(data)
        with Progress(console).of(f"backtest of {data or 'the default data set'}"):
            backtest = training.fit(Panel.from_frame(sales.frame)).backtest
    except (DataError, OSError, UnusableSalesError) as error:
        raise CommandError(str(error)) from None
    console.print(table(backtest))
    console.print(f"{backtest.coverage:.1%} of actual sales were inside intervals made of earlier windows.")
    for shares in msgspec.to_builtins(backtest.coverage_by).values():
        held = (f"{_name(name)} {share:.1%}" for name, share in shares.items() if share is not None)
        console.print(f"  {', '.join(held)}")
    holidays = "the sales show those of no country"
    if backtest.country is not None:
        effects = "change" if backtest.holiday_effects else "are not seen to change"
        holidays = f"of {backtest.country}; they {effects} the sales of stores that are open"
    console.print(f"Public holidays: {holidays}")
    console.print(f"Parameters: {backtest.tuned}")
    return 0
