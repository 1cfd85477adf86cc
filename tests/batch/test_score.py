"""Scoring with Beam, on files and against the emulators of Cloud Storage and BigQuery."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput

from services.batch import check_day, check_scores, extract, score, transient, validate
from services.batch.scoring import Answer, ModelSource, ScoreLines
from services.batch.warehouse import SalesTable
from services.forecasting.forecast import Forecast
from tests.batch.conftest import Run, Warehouse
from tests.batch.sales import SERIES, small_sales
from tests.conftest import Models, free_port

RUN = Models.FIRST
QUESTIONS = [{"store_nbr": store, "family": family} for store, family in Models.SERIES]


def arguments(warehouse: Warehouse, tmp_path: Path, *, table: bool = True, **options: Any) -> list[str]:
    defaults = {
        "input": tmp_path / "questions.json",
        "model_bucket": warehouse.models.bucket_name,
        "model_project": "test",
        "run_date": RUN,
        "horizon": 7,
        "output": f"gs://{warehouse.models.bucket_name}/runs/out" if table else tmp_path / "out",
    }
    if table:
        names = {name: warehouse.environment[name.upper()] for name in ("staging_dataset",)}
        defaults |= {"table": warehouse.environment["SCORES_TABLE"], **names}
    defaults["runner"] = "DirectRunner"
    given = {name: value for name, value in (defaults | options).items() if value is not None}
    return [*(f"--{name}={value}" for name, value in given.items()), "--no_auth"]


def ask(tmp_path: Path, *lines: Any) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (tmp_path / "questions.json").write_text(text)


def rows(warehouse: Warehouse, table: str = "SCORES_TABLE") -> list[tuple[Any, ...]]:
    found = warehouse.client.list_rows(warehouse.environment[table])
    return sorted((tuple(row.values()) for row in found), key=str)


def expected(forecast: Forecast, days: int = 7, run_date: datetime.date = RUN) -> list[tuple[Any, ...]]:
    """What the prediction service answers, as rows of the table."""
    first = (run_date - forecast.dates[0]).days
    everything = forecast.rows(first + days, range(len(forecast.family)))
    return sorted(
        (
            (
                run_date,
                forecast.version,
                row.date,
                row.store_nbr,
                row.family,
                row.sales,
                row.lower,
                row.upper,
                None,
            )
            for row in everything
            if row.date >= run_date
        ),
        key=str,
    )


def test_files_in_files_out(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    forecast = warehouse.models.publish("v1")
    ask(tmp_path, *QUESTIONS[:-1], {"store_nbr": "2", "family": "TEA & CO", "range": 2, "request_id": "r"})
    counted = run(score.main, *arguments(warehouse, tmp_path, table=False))
    assert counted == {"questions": 4, "rows": 3 * 7 + 2, "dead_letters": 0}
    (file,) = (tmp_path / "out").iterdir()
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(found) == 23
    assert found[0] == {
        "run_date": "2024-02-27",
        "model_version": "v1",
        "date": "2024-02-27",
        "store_nbr": "1",
        "family": "BREAD",
        "sales": forecast.sales[0, 0],
        "lower": forecast.lower[0, 0],
        "upper": forecast.upper[0, 0],
    }
    assert [row["date"] for row in found if row.get("request_id") == "r"] == ["2024-02-27", "2024-02-28"]


def test_a_question_for_every_series_is_answered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than about one block is in memory, also where many such questions come together."""
    days = tuple(RUN + datetime.timedelta(days=day) for day in range(7))
    stores, sales = tuple(f"{number:04}" for number in range(4000)), np.ones((4000, 7))
    forecast = Forecast("v", days, stores, ("A",) * 4000, sales, sales, sales)

    def load(source: ModelSource, version: str) -> ScoreLines:
        return ScoreLines(forecast)

    monkeypatch.setattr(ModelSource, "load", load)
    answers = list(Answer(ModelSource("b", "p", "v")).process([b"{}"] * 2))
    blocks = [each.split(b"\n") for each in answers if isinstance(each, bytes)]
    assert [each.value for each in answers if isinstance(each, TaggedOutput)] == [
        len(each) for each in blocks
    ]
    assert max(len(each) for each in blocks) < 10_000 + 7
    found = [json.loads(line) for block in blocks for line in block]
    expected = [(store, str(day)) for store in stores for day in days]
    assert [(row["store_nbr"], row["date"]) for row in found] == expected * 2


def test_a_day_of_the_table_is_replaced_and_no_other(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    old, new = warehouse.models.publish("v1"), warehouse.models.publish("v2")
    ask(tmp_path, *QUESTIONS)
    tomorrow = RUN + datetime.timedelta(days=1)
    run(score.main, *arguments(warehouse, tmp_path, model_version="v1"))
    run(score.main, *arguments(warehouse, tmp_path, model_version="v1", run_date=tomorrow))
    run(score.main, *arguments(warehouse, tmp_path))
    assert rows(warehouse) == sorted(expected(new) + expected(old, run_date=tomorrow), key=str)
    checked = run(check_scores.main, "--run-date", RUN, "--horizon", 7, "--version", "v2")
    assert checked["rows"] == 28
    message = run(check_scores.main, "--run-date", RUN, "--horizon", 8, "--version", "v1", fails=True)[
        "error"
    ]
    assert "row_count is 28 and not 32" in message
    assert "other_versions is 28 and not 0" in message


def test_questions_from_a_query(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    forecast = warehouse.models.publish("v1")
    query = "SELECT '1' AS store_nbr UNION ALL SELECT '2'"
    run(score.main, *arguments(warehouse, tmp_path, input=None, query=query))
    assert rows(warehouse) == expected(forecast)


def test_what_cannot_be_answered_is_kept_with_the_reason(
    warehouse: Warehouse, run: Run, tmp_path: Path
) -> None:
    warehouse.models.publish("v1")
    ask(tmp_path, QUESTIONS[0], "nonsense", {"store_nbr": "9"}, {"range": 8}, {"colour": "red"})
    counted = run(score.main, *arguments(warehouse, tmp_path, table=False))
    assert (counted["rows"], counted["dead_letters"]) == (7, 4)
    (file,) = (tmp_path / "out").glob("dead-letters-*")
    reasons = {each["body"]: each["reason"] for each in map(json.loads, file.read_text().splitlines())}
    assert reasons["nonsense"].startswith("not a question: ")
    assert reasons['{"store_nbr": "9"}'] == "unknown store_nbr '9'; known: 1, 2"
    assert reasons['{"range": 8}'] == "range must be a whole number of days from 1 to 7"
    assert "unknown field `colour`" in reasons['{"colour": "red"}']


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"horizon": 31}, "model v1 forecasts 2024-02-27 to 2024-03-27, and 31 days from 2024-02-27"),
        ({"model_version": "v9"}, "has no complete version v9"),
        ({"run_date": "someday"}, "--run_date: Invalid isoformat string"),
        ({"input": None}, "one of them"),
        ({"staging_dataset": None}, "--table and --staging_dataset go together"),
        ({"output": "rows"}, "--table needs an --output in gs://"),
        ({"runner": "FlinkRunner"}, "--runner=FlinkRunner needs --job_endpoint=HOST:PORT"),
        ({"runner": "SparkRunner"}, "--runner=SparkRunner needs --job_endpoint=HOST:PORT"),
    ],
    ids=["horizon", "version", "date", "input", "staging", "output", "flink", "spark"],
)
def test_nothing_starts_that_cannot_end(
    warehouse: Warehouse, run: Run, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    warehouse.models.publish("v1")
    ask(tmp_path, *QUESTIONS)
    assert reason in run(score.main, *arguments(warehouse, tmp_path, **options), fails=True)["error"]


def test_a_half_written_model_is_not_used(warehouse: Warehouse, run: Run, tmp_path: Path) -> None:
    warehouse.models.publish("v1")
    warehouse.models.bucket.blob("sales/v1/forecast.npz").delete()
    ask(tmp_path, *QUESTIONS)
    assert "forecast.npz" in run(score.main, *arguments(warehouse, tmp_path), fails=True)["error"]


def test_no_questions_leave_the_day_as_it_is(warehouse: Warehouse, tmp_path: Path, run: Run) -> None:
    forecast = warehouse.models.publish("v1")
    ask(tmp_path, *QUESTIONS)
    run(score.main, *arguments(warehouse, tmp_path))
    ask(tmp_path)
    message = run(score.main, *arguments(warehouse, tmp_path), fails=True)["error"]
    assert "no rows for run_date 2024-02-27" in message
    assert rows(warehouse) == expected(forecast)


@pytest.mark.usefixtures("impatience")
def test_bigquery_that_goes_away_leaves_the_day_as_it_is(
    warehouse: Warehouse, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = warehouse.models.publish("v1")
    ask(tmp_path, *QUESTIONS)
    run(score.main, *arguments(warehouse, tmp_path))
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    assert score.main(arguments(warehouse, tmp_path)) == 75  # try again
    assert rows(warehouse) == expected(forecast)


# --- the steps before it ------------------------------------------------------

LAST = datetime.date(2024, 6, 30)
DAY = ("--run-date", "2024-07-01")


def test_a_day_that_is_not_complete(warehouse: Warehouse, run: Run) -> None:
    sales = small_sales(LAST, 180)
    SalesTable(warehouse.table).replace(sales)
    assert run(check_day.main, *DAY) == {"day": "2024-06-30", "rows": 3}
    SalesTable(warehouse.table).replace(sales.slice(0, len(sales) - 1))
    message = run(check_day.main, *DAY, fails=True)["error"]
    assert "lacks 1 of 3 series on 2024-06-30: 2, BREAD" in message


def test_sales_that_went_after_they_were_checked(warehouse: Warehouse, run: Run) -> None:
    """Steps that read the table for what comes later read the day before the run, or nothing."""
    sales = small_sales(LAST, 180)
    SalesTable(warehouse.table).replace(sales)
    run(check_day.main, *DAY)
    SalesTable(warehouse.table).replace(sales.filter(sales["date"] < LAST))
    message = "has no sales of 2024-06-30; the newest is 2024-06-29. Load the day, then run this again"
    for step, options in ((check_day, ()), (extract, ()), (transient, ("--horizon", 5, "--model", "theta"))):
        assert message in run(step.main, *DAY, *options, fails=1)["error"]


def test_drift_is_told_from_chance(warehouse: Warehouse, run: Run) -> None:
    sales = small_sales(LAST, 300)
    SalesTable(warehouse.table).replace(sales)
    snapshot = run(extract.main, *DAY)["snapshot"]
    assert run(validate.main, "--snapshot", snapshot)["series"] == 3
    newest = sales["date"] > LAST - datetime.timedelta(days=28)
    SalesTable(warehouse.table).replace(
        sales.with_columns(sales=sales["sales"] * newest.replace_strict({True: 4.0, False: 1.0}))
    )
    # The run goes on with what it has seen, whatever the table has become.
    assert run(validate.main, "--snapshot", snapshot)["series"] == 3
    snapshot = run(extract.main, *DAY)["snapshot"]
    assert "have drifted" in run(validate.main, "--snapshot", snapshot, fails=True)["error"]
    assert run(validate.main, "--snapshot", snapshot, "--max-drift", 99)["drift"] > 0.25


def test_the_transient_pipeline_keeps_rows_and_no_model(warehouse: Warehouse, run: Run) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST, 180))
    options = (*DAY, "--horizon", 5, "--model", "theta")
    assert run(transient.main, *options, "--dry-run", "true")["rows"] == 15
    assert rows(warehouse, "TRANSIENT_SCORES_TABLE") == []
    first = run(transient.main, *options)
    found = rows(warehouse, "TRANSIENT_SCORES_TABLE")
    assert len(found) == 5 * len(SERIES)
    assert {row[1] for row in found} == {first["version"]}
    run(transient.main, *options)
    assert rows(warehouse, "TRANSIENT_SCORES_TABLE") == found
    assert rows(warehouse) == []
    assert [blob.name for blob in warehouse.models.bucket.list_blobs(prefix="sales/")] == []
