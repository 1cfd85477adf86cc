"""Train and predict in one go: nothing is saved but the predictions, which replace those of the day."""

import sys
from typing import Any

from services.batch import command, staging
from services.batch.scoring import Question, ScoreLines
from services.batch.warehouse import SalesTable, check_newest, replace_day
from services.contracts.settings import BatchSettings
from services.forecasting import training


def transient(
    settings: BatchSettings,
    run_date: command.RunDate,
    horizon: command.Horizon,
    model: command.Model = command.BEST,
    *,
    dry_run: command.DryRun = False,
) -> dict[str, Any]:
    """Train on the sales before the day, forecast the days from it on, replace the rows."""
    sales = SalesTable(settings.sales_table).read(before=run_date)
    check_newest(settings.sales_table, sales.last_date, run_date)
    trained = training.fit(sales, command.candidates(model), group_series=settings.group_series)
    scores = ScoreLines(trained.forecast, run_date, horizon)
    rows = len(trained.forecast.family) * horizon
    if not dry_run:
        address = f"gs://{settings.staging_bucket}/runs/{run_date}/transient.json"
        with staging.create(settings.project, address) as file:
            for lines in scores.answer(Question()):
                file.write(b"\n".join(lines) + b"\n")
        replace_day(settings.transient_scores_table, settings.staging_dataset, run_date, [address], [rows])
    return {"version": trained.forecast.version, "rows": rows, "backtest": trained.backtest.model}


main = command.entry_point(transient)

if __name__ == "__main__":
    sys.exit(main())
