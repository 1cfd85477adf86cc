"""Changes of a released table that BigQuery cannot make in place."""

import msgspec
import pytest

from services.contracts.released import IncompatibleSchemaError, check, columns_of


class Row(msgspec.Struct):
    """A row."""

    store: str
    sales: float


RELEASED = {"Row": columns_of(Row)}


def row(*columns: tuple[str, object] | tuple[str, object, object]) -> type[msgspec.Struct]:
    return msgspec.defstruct("Row", columns)  # pyright: ignore[reportArgumentType]


STORE, SALES = ("store", str), ("sales", float)


@pytest.mark.parametrize(
    "changed",
    [
        row(STORE, SALES),
        row(STORE, SALES, ("unit", str | None, None)),
        row(STORE, ("sales", float | None)),
        row(SALES, STORE),
    ],
    ids=["unchanged", "a nullable column", "nullable now", "another order"],
)
def test_what_bigquery_changes_in_place_is_accepted(changed: type[msgspec.Struct]) -> None:
    check("sales.rows", changed, RELEASED)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (row(STORE, SALES, ("unit", str)), "column unit of Row .* is new and required; make it nullable"),
        (row(STORE), "column sales of Row .* is removed; keep it"),
        (
            row(STORE, ("sales", int)),
            "column sales of Row .* was FLOAT REQUIRED and is INTEGER REQUIRED",
        ),
    ],
    ids=["a required column", "a column less", "another type"],
)
def test_what_would_replace_the_table_is_refused(changed: type[msgspec.Struct], fault: str) -> None:
    with pytest.raises(IncompatibleSchemaError, match=f"table sales.rows: {fault}"):
        check("sales.rows", changed, RELEASED)


def test_a_new_table_may_have_any_columns() -> None:
    check("sales.rows", Row, {})
