"""Train and predict in one go: nothing is saved but the predictions, which replace those of the day."""

import datetime
import sys
from typing import Any

from services.batch import command, staging
from services.batch.partition import Partition
from services.batch.questions import BatchQuestions, Question
from services.batch.scoring import ScoreLines
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import training


def transient(
    settings: BatchSettings, run_date: datetime.date, model: str, horizon: int, *, dry_run: bool
) -> dict[str, Any]:
    """Train on the sales before the day, forecast the days from it on, replace the rows.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
        BatchError: the sales end too early for these days; the rows did not all arrive.
    """
    sales = SalesTable(settings.sales_table).read(before=run_date)
    trained = training.fit(sales, command.candidates(model), group_series=settings.group_series)
    scores = ScoreLines(trained.forecast, run_date, horizon)
    head = BatchQuestions(run_date, horizon).head(Question())
    lines = scores.lines(head, range(len(trained.forecast.family)), horizon)
    if not dry_run:
        name = f"runs/{run_date}/transient.json"
        file = staging.upload(settings.project, settings.staging_bucket, name, b"\n".join(lines))
        partition = Partition(settings.transient_scores_table, settings.staging_dataset, run_date)
        partition.replace([file], len(lines))
    return {"version": trained.forecast.version, "rows": len(lines), "backtest": trained.backtest.model}


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
