"""Extract the sales before the run's day into a file, which every later step of the run works on."""

import sys
from typing import Any

from services.batch import command, staging
from services.batch.warehouse import SalesTable, check_newest
from services.contracts.settings import BatchSettings
from services.forecasting.panel import Panel


def extract(settings: BatchSettings, run_date: command.RunDate) -> dict[str, Any]:
    """Write the file; returns where it is and what is in it."""
    frame = SalesTable(settings.sales_table).frame(before=run_date)
    panel = Panel.from_frame(frame)
    # Those that `check_day` saw may be others.
    check_newest(settings.sales_table, panel.last_date, run_date)
    folder = f"gs://{settings.staging_bucket}/runs/{run_date}"
    return {
        "snapshot": staging.write_sales(settings.project, folder, frame),
        "rows": len(frame),
        "series": len(panel.family),
        "first_date": panel.first_date,
        "last_date": panel.last_date,
        "fingerprint": panel.fingerprint,
    }


main = command.entry_point(extract)

if __name__ == "__main__":
    sys.exit(main())
