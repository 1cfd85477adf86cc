"""Files of daily sales: good ones are read whole, bad ones are refused with every fault named."""

import datetime
import gzip
import lzma
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.forecasting import sales_file
from services.forecasting.table_file import DataError

HEADER = "date,store_nbr,family,sales\n"
KEYS = (
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(str.strip)
)


def write(path: Path, frame: pl.DataFrame) -> Path:
    content = frame.write_csv().encode()
    match path.suffix:
        case ".parquet":
            frame.write_parquet(path)
        case ".gz":
            path.write_bytes(gzip.compress(content, mtime=0))
        case ".xz":
            path.write_bytes(lzma.compress(content))
        case _:
            path.write_bytes(content)
    return path


def faults(path: Path) -> dict[tuple[str, str], tuple[int, list[str]]]:
    """The faults of a file: (column, problem) to (total, examples)."""
    with pytest.raises(DataError) as caught:
        sales_file.read(path)
    assert str(caught.value).startswith(f"{path.name}: ")
    return {
        (fault.column, fault.problem): (fault.total, list(fault.examples)) for fault in caught.value.faults
    }


def csv(path: Path, rows: str, header: str = HEADER) -> Path:
    path.write_text(header + rows)
    return path


# --- good files -----------------------------------------------------------


@st.composite
def contracts(draw: st.DrawFn) -> pl.DataFrame:
    """A complete set of series that end together, in any order of rows."""
    keys = draw(st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=4, unique=True))
    longest = draw(st.integers(1, 12))
    last = draw(st.dates(datetime.date(1990, 1, 1), datetime.date(2026, 1, 1)))
    rows = [
        (
            last - datetime.timedelta(days=back),
            store,
            family,
            draw(st.floats(0, 1e9)),
            draw(st.integers(0, 999)),
        )
        for store, family in keys
        for back in range(draw(st.integers(1, longest)))
    ]
    schema = {
        "date": pl.Date,
        "store_nbr": pl.String,
        "family": pl.String,
        "sales": pl.Float64,
        "onpromotion": pl.Int64,
    }
    frame = pl.DataFrame(draw(st.permutations(rows)), schema=schema, orient="row")
    return frame if draw(st.booleans()) else frame.drop("onpromotion")


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.csv.xz", "s.parquet"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(frame=contracts())
def test_what_satisfies_the_contract_is_read_whole(tmp_path: Path, name: str, frame: pl.DataFrame) -> None:
    read = sales_file.read(write(tmp_path / name, frame))
    assert read.frame.equals(frame.sort("store_nbr", "family", "date"))
    assert read.notes == ()


def test_columns_beyond_the_contract_are_ignored_and_named(tmp_path: Path, sales: pl.DataFrame) -> None:
    path = write(tmp_path / "s.csv", sales.with_row_index("id").with_columns(city=pl.lit("Quito")))
    read = sales_file.read(path)
    assert read.notes == ("column 'id' is ignored", "column 'city' is ignored")
    assert read.frame.equals(sales.sort("store_nbr", "family", "date"))


def test_types_as_other_programs_write_them(tmp_path: Path, sales: pl.DataFrame) -> None:
    """Time stamps at midnight, whole numbers as keys, counts as floats: nothing is lost by reading them."""
    other = sales.with_columns(
        pl.col("date").cast(pl.Datetime("ns")),
        pl.col("store_nbr").cast(pl.Int64),
        pl.col("onpromotion").cast(pl.Float64),
    )
    read = sales_file.read(write(tmp_path / "s.parquet", other))
    assert read.frame.equals(sales.sort("store_nbr", "family", "date"))


def test_keys_keep_their_leading_zeros(tmp_path: Path) -> None:
    read = sales_file.read(csv(tmp_path / "s.csv", "2024-01-01,007,1e3,1\n"))
    assert read.frame.row(0) == (datetime.date(2024, 1, 1), "007", "1e3", 1.0)


def test_a_day_that_no_series_has_is_a_closed_day(tmp_path: Path, sales: pl.DataFrame) -> None:
    closed = [datetime.date(2022, 4, 17), datetime.date(2022, 5, 1)]
    path = write(tmp_path / "s.csv", sales.filter(~pl.col("date").is_in(closed)))
    read = sales_file.read(path)
    (note,) = read.notes
    assert note.startswith(
        "2 days on which no series has a row are closed days, filled with 0: 2022-04-17, 2022-05-01"
    )
    zero = pl.col("date").is_in(closed)
    expected = sales.with_columns(
        sales=pl.when(zero).then(0.0).otherwise("sales"),
        onpromotion=pl.when(zero).then(0).otherwise("onpromotion"),
    )
    assert read.frame.equals(expected.sort("store_nbr", "family", "date"))


def test_a_closed_day_before_a_series_begins_is_not_filled(tmp_path: Path) -> None:
    rows = "2024-01-01,1,A,1\n2024-01-03,1,A,1\n2024-01-03,1,B,1\n"
    read = sales_file.read(csv(tmp_path / "s.csv", rows))
    assert read.frame["family"].to_list() == ["A", "A", "A", "B"]


# --- bad values -----------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("date", "2022-02-30", "not an ISO 8601 date, YYYY-MM-DD"),
        ("date", "01/02/2022", "not an ISO 8601 date, YYYY-MM-DD"),
        ("date", "2022-1-2", "not an ISO 8601 date, YYYY-MM-DD"),
        ("date", "2022-01-02T12:00:00", "not an ISO 8601 date, YYYY-MM-DD"),
        ("date", "2042-02-05", "after tomorrow"),
        ("date", "", "empty"),
        ("store_nbr", "", "empty"),
        ("family", "  ", "empty"),
        ("family", "x" * 129, "longer than 128 characters"),
        ("family", "A\x00", "has control characters"),
        ("family", "A\x1bB", "has control characters"),
        ("sales", "1e39", "larger than 1e+12"),
        ("sales", "", "empty"),
        ("sales", "n/a", "not a number"),
        ("sales", "nan", "not a number"),
        ("sales", "inf", "not a number"),
        ("sales", "1,5", "not a number"),
        ("sales", "-0.5", "negative"),
        ("onpromotion", "1.5", "not a whole number"),
        ("onpromotion", "True", "not a whole number"),
        ("onpromotion", "-1", "negative"),
        ("onpromotion", "", "empty"),
    ],
)
@pytest.mark.parametrize("row", [0, 417, -1])
def test_a_bad_value_is_named_by_row_and_column(
    tmp_path: Path, sales: pl.DataFrame, column: str, value: str, problem: str, row: int
) -> None:
    text = sales.cast(pl.String)
    row %= len(text)
    text[row, column] = value
    path = write(tmp_path / "s.csv", text)
    line = path.read_text().splitlines()[row + 1]
    assert value in line or f'"{value}"' in line
    example = f"row {row + 2}" if problem == "empty" else f"row {row + 2}: {value[:40]!r}"
    assert faults(path) == {(column, problem): (1, [example])}


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("date", pl.lit(datetime.datetime(2022, 1, 3, 12)), "not an ISO 8601 date, YYYY-MM-DD"),
        ("date", pl.lit(20220103), "not an ISO 8601 date, YYYY-MM-DD"),
        ("store_nbr", pl.lit(1.0), "not text or a whole number"),
        ("sales", pl.lit(value=True), "not a number"),
        ("family", pl.lit(None, pl.String), "empty"),
    ],
)
def test_bad_values_of_parquet_columns(
    tmp_path: Path, sales: pl.DataFrame, column: str, values: pl.Expr, problem: str
) -> None:
    path = write(tmp_path / "s.parquet", sales.with_columns(values.alias(column)))
    ((named, total),) = [((name, what), count) for (name, what), (count, _) in faults(path).items()]
    assert named == (column, problem)
    assert total == len(sales)


def test_all_faults_at_once_the_first_of_each_kind_and_the_total(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-{day:02},1,A,-{day}\n" for day in range(1, 9))
    found = faults(csv(tmp_path / "s.csv", rows + "yesterday,1,A,1\n2024-01-09,,A,x\n"))
    assert found == {
        ("date", "not an ISO 8601 date, YYYY-MM-DD"): (1, ["row 10: 'yesterday'"]),
        ("store_nbr", "empty"): (1, ["row 11"]),
        ("sales", "not a number"): (1, ["row 11: 'x'"]),
        ("sales", "negative"): (8, [f"row {row}: '-{row - 1}'" for row in range(2, 7)]),
    }


def test_the_report_reads_well(tmp_path: Path) -> None:
    path = csv(tmp_path / "s.csv", "".join(f"2024-01-{day:02},1,A,-1\n" for day in range(1, 9)))
    with pytest.raises(DataError) as caught:
        sales_file.read(path)
    assert str(caught.value).splitlines() == [
        "s.csv: 8 faults, nothing was loaded",
        "  sales: negative (8)",
        *(f"    row {row}: '-1'" for row in range(2, 7)),
        "    and 3 more",
    ]


def test_a_repeated_day_names_both_rows(tmp_path: Path) -> None:
    rows = "2024-01-01,1,A,1\n2024-01-02,1,A,2\n2024-01-01,1,B,1\n2024-01-02,1,B,1\n2024-01-02,1,A,2\n"
    assert faults(csv(tmp_path / "s.csv", rows)) == {
        ("store_nbr, family, date", "more than one row of a series on a day"): (
            1,
            ["row 6 repeats row 3: 1, A, 2024-01-02"],
        )
    }


def test_gaps_of_single_series_are_named(tmp_path: Path) -> None:
    days = [f"2024-01-{day:02}" for day in range(1, 11)]
    whole = [f"{day},1,WHOLE,1\n" for day in days if day != "2024-01-05"]  # the 5th is closed for all
    gap = [f"{day},1,GAP,1\n" for day in days if day not in ("2024-01-05", "2024-01-06", "2024-01-07")]
    ends = [f"{day},2,ENDS,1\n" for day in days[:8] if day != "2024-01-05"]
    assert faults(csv(tmp_path / "s.csv", "".join(whole + gap + ends))) == {
        ("date", "days of a series are missing that others have"): (
            2,
            [
                "row 14: 1, GAP: no row between 2024-01-04 and 2024-01-08 (2 days)",
                "row 24: 2, ENDS: no row after 2024-01-08, the file ends on 2024-01-10 (2 days)",
            ],
        )
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_row_taken_out_of_a_series_is_missed(
    tmp_path: Path, sales: pl.DataFrame, data: st.DataObject
) -> None:
    """Unless it was the first one: then the series begins a day later."""
    row = data.draw(st.integers(0, len(sales) - 1))
    store, family, day = sales.select("store_nbr", "family", "date").row(row)
    rest = sales.with_row_index("i").filter(pl.col("i") != row).drop("i")
    path = write(tmp_path / "s.csv", rest)
    first = sales.filter(store_nbr=store, family=family)["date"].min()
    if day == first:
        assert sales_file.read(path).notes == ()
    else:
        ((total, (example,)),) = faults(path).values()
        assert total == 1
        assert f"{store}, {family}: no row" in example
        assert "(1 days)" in example


# --- bad files -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("s.csv", b"", "is empty"),
        ("s.csv", HEADER.encode(), "has a header but no rows"),
        ("s.csv", b"date,store_nbr,family,sales,sales\n", "has more than one column 'sales'"),
        ("s.csv", gzip.compress(HEADER.encode(), mtime=0), r"is not UTF-8 text: byte b'\\x8b' in row 1"),
        (
            "s.csv",
            (HEADER + "2024-01-01,1,Caf\xe9,1\n").encode("latin-1"),
            r"not UTF-8 text: byte b'\\xe9' in row 2",
        ),
        ("s.csv.gz", HEADER.encode(), "is not gz, as its name says"),
        ("s.csv.gz", gzip.compress(HEADER.encode() * 9, mtime=0)[:-12], "is not gz, as its name says"),
        ("s.csv.xz", HEADER.encode(), "is not xz, as its name says"),
        ("s.csv.xz", lzma.compress(HEADER.encode())[:-9], "is not xz, as its name says"),
        ("s.parquet", HEADER.encode(), "is not Parquet, as its name says"),
        ("s.parquet", b"", "is not Parquet, as its name says"),
        (
            "s.xlsx",
            b"PK",
            r"has none of the names that say its format: \.csv, \.csv\.gz, \.csv\.xz, \.parquet",
        ),
        ("s.gz", gzip.compress(HEADER.encode(), mtime=0), "has none of the names that say its format"),
        ("s.csv", (HEADER + '2024-01-01,1,"A,1\n').encode(), "is not CSV"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=expected):
        sales_file.read(tmp_path / name)


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    found = faults(csv(tmp_path / "s.csv", "1,2,3\n", "Date,store,sales\n"))
    has = "column is missing; the file has 'Date', 'store', 'sales'"
    assert list(found) == [
        ("date", f"{has}; did you mean 'Date' to be it?"),
        ("store_nbr", f"{has}; did you mean 'store' to be it?"),
        ("family", has),
    ]


def test_rows_with_too_many_values_are_named(tmp_path: Path) -> None:
    rows = '2024-01-01,1,"A,B",1\n2024-01-02,1,A,B,1\n2024-01-03,1,A,B,1,2\n'
    assert faults(csv(tmp_path / "s.csv", rows)) == {
        ("file", "rows have more values than the header's 4"): (2, ["row 3: 5 values", "row 4: 6 values"])
    }


def test_rows_with_too_few_values_are_named(tmp_path: Path) -> None:
    assert faults(csv(tmp_path / "s.csv", "2024-01-01,1,A,1\n2024-01-02,1\n")) == {
        ("family", "empty"): (1, ["row 3"]),
        ("sales", "empty"): (1, ["row 3"]),
    }


@pytest.mark.parametrize(
    ("before", "after", "newline", "comma"),
    [
        ("\ufeff", "", "\n", ","),
        ("", "", "\r\n", ","),
        ("", "", "\r", ","),
        ("\n \n", "", "\n", ","),
        ("", "\n\n,,,\n", "\n", ","),
        ("", "\n,,,\n", "\r\n", ","),
        ("sep=;\n", "", "\r\n", ";"),
        ('\ufeff"sep=,"\n', "\n", "\n", ","),
        ("sep=\t\n", "", "\n", "\t"),
    ],
)
def test_what_spreadsheets_add_is_harmless(
    tmp_path: Path, before: str, after: str, newline: str, comma: str
) -> None:
    table = (HEADER + "2024-01-01 00:00:00,1,A,1\n\n2024-01-02T00:00,1,A,2\n").replace(",", comma)
    (tmp_path / "s.csv").write_bytes((before + table + after).replace("\n", newline).encode())
    assert sales_file.read(tmp_path / "s.csv").frame.select("date", "sales").rows() == [
        (datetime.date(2024, 1, 1), 1.0),
        (datetime.date(2024, 1, 2), 2.0),
    ]


def test_skipped_lines_count_in_the_number_of_a_row(tmp_path: Path) -> None:
    rows = "2024-01-01,1,A,1\n\n2024-01-02,1,A,x\n"
    assert faults(csv(tmp_path / "s.csv", rows, f"\nsep=,\n{HEADER}")) == {
        ("sales", "not a number"): (1, ["row 6: 'x'"])
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("date;store_nbr;family;sales\n2024-01-01;1;A;1,5\n", "row 1: values are separated by ';'"),
        ("date\tstore_nbr\tfamily\tsales\n", r"row 1: values are separated by '\\t'"),
        ("\nDaily sales report\n" + HEADER, "row 2 is a title above the header: 'Daily sales report'"),
        ("x" * 200_000 + "\n", "is not CSV: field larger than field limit"),
    ],
)
def test_what_is_no_table_with_commas_is_named(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError, match=problem):
        sales_file.read(tmp_path / "s.csv")


def test_categories_are_read_as_text(tmp_path: Path, sales: pl.DataFrame) -> None:
    kinds = {"store_nbr": pl.Categorical, "family": pl.Enum(["F00", "F01", "F02"])}
    read = sales_file.read(write(tmp_path / "s.parquet", sales.cast(kinds)))  # type: ignore[arg-type]
    assert read.frame.equals(sales.sort("store_nbr", "family", "date"))


@pytest.mark.parametrize("other", ["A ", "\u00a0A", "A\t"])
def test_keys_are_trimmed(tmp_path: Path, other: str) -> None:
    read = sales_file.read(csv(tmp_path / "s.csv", f"2024-01-01,1,A,1\n2024-01-02,1,{other},2\n"))
    assert read.frame["family"].to_list() == ["A", "A"]
    found = faults(csv(tmp_path / "s.csv", f"2024-01-01,1,A,1\n2024-01-01,1,{other},2\n"))
    assert found == {
        ("store_nbr, family, date", "more than one row of a series on a day"): (
            1,
            ["row 3 repeats row 2: 1, A, 2024-01-01"],
        )
    }


def test_keys_are_normalized(tmp_path: Path) -> None:
    rows = "2024-01-01,1,Cafe\u0301,1\n2024-01-02,1,Caf\u00e9,2\n"
    read = sales_file.read(csv(tmp_path / "s.csv", rows))
    assert read.frame["family"].to_list() == ["Caf\u00e9"] * 2


# --- files that are not daily -----------------------------------------------------------


def days_of(first: str, steps: list[int]) -> str:
    days = [datetime.date.fromisoformat(first)]
    for step in steps:
        days.append(days[-1] + datetime.timedelta(days=step))
    return "".join(f"{day},1,A,1\n" for day in days)


def test_a_month_without_rows_is_refused(tmp_path: Path) -> None:
    """As a typing error in a year makes it; a store that is closed for a month is fine."""
    assert len(sales_file.read(csv(tmp_path / "s.csv", days_of("2022-01-01", [1] * 40 + [32]))).frame) == 73
    assert faults(csv(tmp_path / "s.csv", days_of("2022-01-01", [1] * 40 + [33]))) == {
        ("date", "more than 31 days in a row without a row of any series"): (
            1,
            ["row 43: 2022-03-15 follows 2022-02-10"],
        )
    }


def test_weekly_sales_are_refused(tmp_path: Path) -> None:
    found = faults(csv(tmp_path / "s.csv", days_of("2022-01-02", [7, 7])))
    assert found == {
        ("date", "3 of the 15 days from 2022-01-02 to 2022-01-16 have rows: these are no daily sales"): (
            2,
            ["row 3: 2022-01-09 follows 2022-01-02", "row 4: 2022-01-16 follows 2022-01-09"],
        )
    }


def test_tomorrow_is_taken_and_the_day_after_is_not(tmp_path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    ends = today + datetime.timedelta(days=1)
    assert sales_file.read(csv(tmp_path / "s.csv", f"{today},1,A,1\n{ends},1,A,1\n")).frame.height == 2
    late = ends + datetime.timedelta(days=2)  # also when midnight passes while this runs
    assert list(faults(csv(tmp_path / "s.csv", f"{today},1,A,1\n{late},1,A,1\n"))) == [
        ("date", "after tomorrow")
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sales_file.read(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2024-01-03,1,A,,", "onpromotion: empty"),
        ("2024-01-03,2,A,,3", "promotions are planned for a series without sales"),
        ("2024-01-02,1,A,,3", "sales: empty"),
        ("9999-12-31,1,A,,3", r"after the last sales, of 2024-01-02 \(1\)\n *row 5: 9999-12-31"),
        ("2025-01-03,1,A,,3", r"more than 366 days after the last sales, of 2024-01-02 \(1\)\n *row 5: 2025"),
        ("2024-01-03,1,A,,-3", r"onpromotion: negative \(1\)\n *row 5"),
        ("2024-01-03,1,A,,1e13", r"onpromotion: larger than 1e\+12 \(1\)\n *row 5"),
        ("9999-12-31,1,A,0,3", r"date: after tomorrow \(1\)\n *row 5"),
    ],
    ids=[
        *("nothing planned", "another store", "a day with sales", "year 9999", "a year and a day"),
        *("fewer than none", "too many", "sales of the future"),
    ],
)
def test_faults_of_plans(tmp_path: Path, row: str, fault: str) -> None:
    rows = "2024-01-01,1,A,1,0\n2024-01-01,1,B,1,0\n2024-01-02,1,B,1,0\n"
    file = csv(tmp_path / "s.csv", rows + row + "\n", f"{HEADER.rstrip()},onpromotion\n")
    with pytest.raises(DataError, match=fault):
        sales_file.read(file)
