"""Train and predict in one go: nothing is saved but the predictions, which replace those of the day."""

import datetime
import sys
from typing import Any

from services.batch import command, staging
from services.batch.partition import Partition
from services.batch.questions import BatchQuestions, Question
from services.batch.scoring import ScoreLines
from services.batch.warehouse import SalesTable, check_newest
from services.contracts.settings import BatchSettings
from services.forecasting import training


def transient(
    settings: BatchSettings, run_date: datetime.date, model: str, horizon: int, *, dry_run: bool
) -> dict[str, Any]:
    """Train on the sales before the day, forecast the days from it on, replace the rows.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
        BatchError: the sales do not reach the day before; the rows did not all arrive.
    """
    sales = SalesTable(settings.sales_table).read(before=run_date)
    check_newest(settings.sales_table, sales.last_date, run_date - datetime.timedelta(days=1))
    trained = training.fit(sales, command.candidates(model), group_series=settings.group_series)
    scores = ScoreLines(trained.forecast, run_date, horizon)
    head = BatchQuestions(run_date, horizon).head(Question())
    series = len(trained.forecast.family)
    if not dry_run:
        address = f"gs://{settings.staging_bucket}/runs/{run_date}/transient.json"
        with staging.create(settings.project, address) as file:
            for index in range(series):
                file.write(b"\n".join(scores.lines(head, (index,), horizon)) + b"\n")
        partition = Partition(settings.transient_scores_table, settings.staging_dataset, run_date)
        partition.replace([address], series * horizon)
    return {
        "version": trained.forecast.version,
        "rows": series * horizon,
        "backtest": trained.backtest.model,
    }


main = command.EntryPoint(
    transient,
    __doc__,
    command.RUN_DATE,
    command.MODEL,
    ("--horizon", {"type": int, "required": True, "help": "days to forecast"}),
    command.DRY_RUN,
)

if __name__ == "__main__":
    sys.exit(main())
