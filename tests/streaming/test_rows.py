"""Every type that a column may have, in rows for the Storage Write API."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.streaming.table import RowEncoder


class Everything(msgspec.Struct):
    """A column of each type, required and nullable."""

    text: str
    whole: int
    number: float
    amount: Decimal
    flag: bool
    day: datetime.date
    moment: datetime.datetime
    maybe_text: str | None = None
    maybe_whole: int | None = None
    maybe_number: float | None = None
    maybe_amount: Decimal | None = None
    maybe_flag: bool | None = None
    maybe_day: datetime.date | None = None
    maybe_moment: datetime.datetime | None = None


VALUES: dict[str, Any] = {
    "text": 'é, "quoted"',
    "whole": -(2**62),
    "number": 0.1,
    "amount": Decimal("12345678901234567890.123456789"),
    "flag": False,
    "day": datetime.date(1969, 12, 31),
    "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, datetime.UTC),
}
FULL = VALUES | {f"maybe_{name}": value for name, value in VALUES.items()}
SPARSE = VALUES | {f"maybe_{name}": None for name in VALUES}


def _as_it_is(value: Any) -> Any:
    return value


@pytest.mark.parametrize("values", [FULL, SPARSE], ids=["full", "nulls"])
def test_a_serialized_row_holds_every_type(values: dict[str, Any]) -> None:
    encoder = RowEncoder(Everything)
    row = encoder.message.FromString(encoder.encode(**values))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    decode: dict[str, Callable[[Any], Any]] = {
        "amount": Decimal,
        "day": lambda days: epoch.date() + datetime.timedelta(days=days),
        "moment": lambda us: epoch + datetime.timedelta(microseconds=us),
    }
    found = {
        name: decode.get(name.removeprefix("maybe_"), _as_it_is)(getattr(row, name))
        if row.HasField(name)
        else None
        for name in values
    }
    assert found == values
    assert row.IsInitialized()


def test_a_row_without_a_required_column_is_not_complete() -> None:
    encoder = RowEncoder(Everything)
    assert not encoder.message.FromString(encoder.encode(text="a")).IsInitialized()
