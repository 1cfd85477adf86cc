"""A new column: a nullable field of a row type is carried everywhere, a required one is refused."""

import datetime
import io
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

from services.contracts.names import MODELS_BUCKET, STAGING_BUCKET, bucket_name
from services.contracts.settings import BatchSettings, to_environment
from tests.changes.conftest import Checkout
from tests.conftest import Models
from tests.forecasting.conftest import make_sales

pytestmark = pytest.mark.slow

TABLES = "services/contracts/tables.py"
PROJECT = "sales-forecast-dev"
# A column of each type, with the value that is declared for predictions and scores. The emulator keeps three
# digits of a NUMERIC column that is added to a table; BigQuery keeps nine.
TYPES: dict[str, tuple[str, Any]] = {
    "a_string": ("str", "piece"),
    "an_integer": ("int", 2**53 + 1),
    "a_float": ("float", 0.1),
    "a_number": ("Decimal", Decimal("12.345")),
    "a_boolean": ("bool", True),
    "a_date": ("datetime.date", datetime.date(2024, 2, 29)),
    "a_time": ("datetime.datetime", datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, datetime.UTC)),
}
DECLARED = {name: value for name, (_, value) in TYPES.items()}
SETTINGS = BatchSettings(
    model_bucket=bucket_name(PROJECT, MODELS_BUCKET),
    staging_bucket=bucket_name(PROJECT, STAGING_BUCKET),
    sales_table=f"{PROJECT}.sales.sales",
    scores_table=f"{PROJECT}.predictions.scores",
    transient_scores_table=f"{PROJECT}.predictions.transient_scores",
    staging_dataset=f"{PROJECT}.staging",
)


def add(checkout: Checkout, columns: str, before: str) -> None:
    """Add columns at the end of the row type that comes before another one."""
    checkout.edit(TABLES, f"\n\n\nclass {before}(", f"\n{columns}\n\n\nclass {before}(")


@pytest.fixture(scope="module")
def changed(checkout: Checkout) -> Checkout:
    """A platform with tables to which a column of each type is added."""
    checkout.synthesize("dev")
    checkout.apply("dev", "data")
    declared = "\n".join(f"    {name}: {kind} | None = {value!r}" for name, (kind, value) in TYPES.items())
    declared = declared.replace("tzinfo=datetime.timezone.utc", "tzinfo=datetime.UTC")
    add(
        checkout,
        "\n".join(f"    {name}: {kind} | None = None" for name, (kind, _) in TYPES.items()),
        "Prediction",
    )
    add(checkout, declared, "Score")
    add(checkout, declared, "Request")
    checkout.edit(TABLES, "import datetime\n", "import datetime\nfrom decimal import Decimal\n")
    checkout.synthesize("dev")
    # Sales, predictions and their view, scores twice.
    assert "0 added, 5 changed, 0 destroyed" in checkout.apply("dev", "data")
    checkout.publish_a_model(PROJECT)
    return checkout


def rows(checkout: Checkout, table: str) -> list[dict[str, Any]]:
    """The new columns of a table's rows."""
    url = checkout.emulators()["BIGQUERY_EMULATOR_HOST"]
    client = bigquery.Client(
        PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )
    return [{name: row[name] for name in TYPES} for row in client.list_rows(client.get_table(table))]


def test_a_required_column_is_refused(checkout: Checkout) -> None:
    column = '    unit: Annotated[str, Meta(description="What is counted.")]'
    checkout.edit(TABLES, "\n\n\nclass Score(", f"\n{column}\n\n\nclass Score(")
    printed = checkout.refusal("dev")
    assert "table predictions.predictions: column unit of Prediction" in printed
    assert "make it nullable" in printed
    checkout.edit(TABLES, f"\n{column}", "")


def test_streaming_writes_the_declared_value(changed: Checkout) -> None:
    program = f"""
import asyncio, datetime, numpy
from services.forecasting.forecast import Forecast
from services.contracts.messages import SaleRangeRequest
from services.streaming.processing import ModelReplies
from services.streaming.table import PredictionsTable

sales = numpy.ones((1, 1))
forecast = Forecast("v1", (datetime.date(2024, 1, 1),), ("1",), ("A",), sales, sales, sales)
rows = ModelReplies(forecast, 1).rows(SaleRangeRequest("r", 1), 1, 2)

async def save():
    table = PredictionsTable("{PROJECT}.predictions.predictions")
    await table.append(rows)
    await table.close()

asyncio.run(save())
"""
    changed.python("-c", program, **changed.emulators())
    assert rows(changed, f"{PROJECT}.predictions.predictions") == [DECLARED]


def test_batch_writes_the_declared_value(changed: Checkout) -> None:
    (changed.folder / "questions.json").write_text('{"store_nbr": "1", "family": "BREAD"}')
    changed.python(
        *("-m", "services.batch.score", "--runner=DirectRunner", "--no_auth", "--input=questions.json"),
        *(f"--model_bucket={SETTINGS.model_bucket}", f"--model_project={PROJECT}", "--horizon=1"),
        *(f"--run_date={Models.FIRST}", f"--output=gs://{SETTINGS.staging_bucket}/scores"),
        *(f"--table={SETTINGS.scores_table}", f"--staging_dataset={SETTINGS.staging_dataset}"),
        **changed.emulators(),
    )
    assert rows(changed, SETTINGS.scores_table) == [DECLARED]


@pytest.mark.parametrize("name", ["sales.csv", "sales.parquet"])
def test_a_column_of_a_file_reaches_the_snapshot_of_a_run(changed: Checkout, name: str) -> None:
    """With its NULLs: values are in every other row."""
    sales = make_sales().sort("store_nbr", "family", "date").with_row_index("row")
    given = pl.DataFrame({name: [value] for name, value in DECLARED.items()})
    given = given.with_columns(pl.col("a_number").cast(pl.Decimal(38, 9)))
    sales = sales.join(given, how="cross").with_columns(
        pl.when(pl.col("row") % 2 == 0).then(pl.col(*TYPES)).name.keep()
    )
    sales = sales.drop("row")
    (sales.write_csv if name.endswith(".csv") else sales.write_parquet)(changed.folder / name)
    environment = to_environment(SETTINGS) | changed.emulators()
    loaded = changed.python("-m", "services.batch.ingest", "--file", name, **environment)
    assert "is ignored" not in loaded
    stored = rows(changed, SETTINGS.sales_table)
    assert sum(row == DECLARED for row in stored) == sum(row == dict.fromkeys(TYPES) for row in stored)
    again = changed.python("-m", "services.batch.ingest", "--file", name, **environment)
    assert '"changed":false' in again
    changed.python("-m", "services.batch.extract", "--run-date=2022-07-12", **environment)
    client = storage.Client(
        PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": environment["STORAGE_EMULATOR_HOST"]},
    )
    [snapshot] = client.list_blobs(SETTINGS.staging_bucket, prefix="runs/2022-07-12/")
    found = pl.read_parquet(io.BytesIO(snapshot.download_as_bytes()))
    assert found.select(sales.columns).equals(sales.with_columns(pl.col("store_nbr").cast(pl.String)))
