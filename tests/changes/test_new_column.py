"""A new column: a nullable field of a row type changes the table in place, a required one is refused."""

import pytest

from tests.changes.conftest import Checkout

pytestmark = pytest.mark.slow

TABLES = "services/contracts/tables.py"
LAST = "    processed_at: Annotated[datetime.datetime, Meta(tz=True, description="
COLUMN = '    unit: Annotated[str, Meta(description="What is counted.")]'


def add(checkout: Checkout, column: str) -> None:
    """Add a column after the last one of predictions."""
    text = (checkout.folder / TABLES).read_text()
    [last] = [line for line in text.splitlines() if line.startswith(LAST)]
    checkout.edit(TABLES, f"{last}\n", f"{last}\n{column}\n")


def test_a_required_column_is_refused(checkout: Checkout) -> None:
    add(checkout, COLUMN)
    printed = checkout.refusal("dev")
    assert "table predictions.predictions: column unit of Prediction" in printed
    assert "make it nullable" in printed
    checkout.edit(TABLES, f"{COLUMN}\n", "")


def test_a_nullable_column_changes_the_table_in_place(checkout: Checkout) -> None:
    checkout.synthesize("dev")
    checkout.apply("dev", "data")
    add(checkout, f'{COLUMN} | None = "piece"')
    checkout.synthesize("dev")
    assert "0 added, 2 changed, 0 destroyed" in checkout.apply("dev", "data")  # the table and its view


def test_streaming_writes_the_declared_default(checkout: Checkout) -> None:
    program = (
        "from services.streaming import rows\n"
        "import datetime, numpy\n"
        "from services.forecasting.forecast import Forecast\n"
        "sales = numpy.ones((1, 1))\n"
        "forecast = Forecast('v1', (datetime.date(2024, 1, 1),), ('1',), ('A',), sales, sales, sales)\n"
        "[row] = rows.ForecastRows(forecast).of(1, [0])\n"
        "message = rows._ENCODER.message.FromString(row + rows.request_fields('r', 1, 2))\n"
        "print(message.unit, message.IsInitialized())"
    )
    assert checkout.python("-c", program).split() == ["piece", "True"]


def test_batch_writes_the_declared_default(checkout: Checkout) -> None:
    program = (
        "from apache_beam.io.gcp.pubsub import PubsubMessage\n"
        "from services.batch.scoring import Stream\n"
        "stream, message = Stream(7), PubsubMessage(b'3', {}, message_id='m')\n"
        "print(stream.head(message, stream.read(message)[0]).decode())"
    )
    assert '"unit":"piece"' in checkout.python("-c", program)
