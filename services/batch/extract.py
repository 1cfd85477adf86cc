"""Extract the sales before the run's day into a file, which every later step of the run works on."""

import argparse
import datetime
import sys
from typing import Any

from services.batch import command, snapshot
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting.panel import Panel


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="extract", description=__doc__)
    command.add_run_date(parser)
    options = parser.parse_args(arguments)
    return command.run("extract", lambda settings: extract(settings, options.run_date))


def extract(settings: BatchSettings, run_date: datetime.date) -> dict[str, Any]:
    """Write the file; returns where it is and what is in it.

    Raises:
        UnusableSalesError: there are no sales, or series have gaps or repeated days.
    """
    frame = SalesTable(settings.sales_table).frame(before=run_date)
    panel = Panel.from_frame(frame)
    return {
        "snapshot": snapshot.write(settings.project, settings.staging_bucket, f"runs/{run_date}", frame),
        "rows": len(frame),
        "series": len(panel.family),
        "first_date": panel.first_date,
        "last_date": panel.last_date,
        "fingerprint": panel.fingerprint(),
    }


if __name__ == "__main__":
    sys.exit(main())
