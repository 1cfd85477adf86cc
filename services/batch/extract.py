"""Extract the sales before the run's day into a file, which every later step of the run works on."""

import datetime
import sys
from typing import Any

from services.batch import command, staging
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting.panel import Panel


def extract(settings: BatchSettings, run_date: datetime.date) -> dict[str, Any]:
    """Write the file; returns where it is and what is in it.

    Raises:
        UnusableSalesError: there are no sales, or series have gaps or repeated days.
    """
    frame = SalesTable(settings.sales_table).frame(before=run_date)
    panel = Panel.from_frame(frame)
    return {
        "snapshot": staging.write_sales(settings.project, settings.staging_bucket, f"runs/{run_date}", frame),
        "rows": len(frame),
        "series": len(panel.family),
        "first_date": panel.first_date,
        "last_date": panel.last_date,
        "fingerprint": panel.fingerprint(),
    }


main = command.EntryPoint(extract, __doc__, command.RUN_DATE)

if __name__ == "__main__":
    sys.exit(main())
