"""Check a day's scores: as many rows as series and days, the right days, values in range."""

import datetime
import sys
from typing import Annotated, Any

from services.batch import command
from services.batch.errors import BatchError
from services.bigquery import connect, query
from services.contracts.settings import BatchSettings
from services.forecasting.model_registry import ModelRegistry

_QUERY = """
SELECT COUNT(*) AS row_count,
       COUNT(DISTINCT CONCAT(LENGTH(store_nbr), '/', store_nbr, family)) AS series,
       COUNT(DISTINCT date) AS days, MIN(date) AS first_date, MAX(date) AS last_date,
       COUNTIF(model_version != @version) AS other_versions,
       COUNTIF(NOT (0 <= lower AND lower <= sales AND sales <= upper AND upper < 1e12)) AS out_of_range,
       SUM(sales) AS sales
FROM `{table}` WHERE run_date = @run_date
"""


def check_scores(
    settings: BatchSettings,
    run_date: command.RunDate,
    horizon: command.Horizon,
    version: Annotated[str, "the version they were forecast with"],
) -> dict[str, Any]:
    """Count the rows of the day; returns the counts."""
    series = ModelRegistry(settings.model_bucket, project=settings.project).manifest(version).series
    with connect(settings.project) as client:
        [row] = query(client, _QUERY.format(table=settings.scores_table), run_date=run_date, version=version)
    expected = {
        "row_count": series * horizon,
        "series": series,
        "days": horizon,
        "first_date": run_date,
        "last_date": run_date + datetime.timedelta(days=horizon - 1),
        "other_versions": 0,
        "out_of_range": 0,
    }
    wrong = [
        f"{name} is {row[name]} and not {value}" for name, value in expected.items() if row[name] != value
    ]
    if wrong:
        raise BatchError(
            f"{settings.scores_table} of {run_date}: {', '.join(wrong)}. Why questions were not answered "
            f"is in gs://{settings.staging_bucket}/runs/{run_date}/"
        )
    return {"rows": row["row_count"], "series": series, "sales": round(row["sales"], 3)}


main = command.entry_point(check_scores)

if __name__ == "__main__":
    sys.exit(main())
