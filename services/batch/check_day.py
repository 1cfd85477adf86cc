"""Check that the sales of the day before the run are complete: every series known until then has that day."""

import datetime
import sys
from typing import Any

from services.batch import command
from services.batch.errors import BatchError
from services.batch.warehouse import SalesTable, check_newest
from services.contracts.settings import BatchSettings

_NAMED = 5


def check_day(settings: BatchSettings, run_date: command.RunDate) -> dict[str, Any]:
    """Returns the day, and how many series have it."""
    day = run_date - datetime.timedelta(days=1)
    latest = SalesTable(settings.sales_table).latest(run_date)
    missing = [f"{store}, {family}" for (store, family), last in sorted(latest.items()) if last < day]
    check_newest(settings.sales_table, max(latest.values(), default=None), run_date)
    if missing:
        named = "; ".join(missing[:_NAMED]) + ("; ..." if len(missing) > _NAMED else "")
        raise BatchError(
            f"{settings.sales_table} lacks {len(missing)} of {len(latest)} series on {day}: {named}. "
            "Load them (a day without trade is a row with sales of 0), then run this again"
        )
    return {"day": day, "rows": len(latest)}


main = command.entry_point(check_day)

if __name__ == "__main__":
    sys.exit(main())
