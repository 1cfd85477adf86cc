"""Train and predict in one go: nothing is saved but the predictions, which replace those of the day."""

import argparse
import datetime
import sys
from typing import Any

from services.batch import command, snapshot
from services.batch.partition import Partition
from services.batch.questions import BatchQuestions, Question
from services.batch.scoring import ScoreLines
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings
from services.forecasting import training


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="transient", description=__doc__)
    command.add_run_date(parser)
    command.add_model(parser)
    parser.add_argument("--horizon", type=int, required=True, help="days to forecast")
    command.add_dry_run(parser, "save nothing at all")
    options = parser.parse_args(arguments)
    return command.run(
        "transient",
        lambda settings: transient(
            settings, options.run_date, options.model, options.horizon, dry_run=options.dry_run == "true"
        ),
    )


def transient(
    settings: BatchSettings, run_date: datetime.date, model: str, horizon: int, *, dry_run: bool
) -> dict[str, Any]:
    """Train on the sales before the day, forecast the days from it on, replace the rows.

    Raises:
        UnusableSalesError: the sales are none, incomplete or too short.
        BatchError: the sales end too early for these days; the rows did not all arrive.
    """
    sales = SalesTable(settings.sales_table).read(before=run_date)
    trained = training.fit(sales, command.candidates(model))
    scores = ScoreLines(trained.forecast, run_date, horizon)
    head = BatchQuestions(run_date, horizon).head(b"", Question())
    lines = scores.lines(head, range(len(trained.forecast.family)), horizon)
    if not dry_run:
        name = f"runs/{run_date}/transient.json"
        file = snapshot.upload(settings.project, settings.staging_bucket, name, b"\n".join(lines))
        partition = Partition(settings.transient_scores_table, settings.staging_dataset, run_date)
        partition.replace([file], len(lines))
    return {"version": trained.forecast.version, "rows": len(lines), "backtest": trained.backtest.model}


if __name__ == "__main__":
    sys.exit(main())
