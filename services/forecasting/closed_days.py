"""On which days a store is closed, and the public holidays of its country."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

import holidays
import numpy as np
from holidays.constants import HOLIDAY_NAME_DELIMITER

from services.forecasting.panel import SEASON, YEAR, Mask, Numbers, Panel, summed

NATIONAL = "any national holiday"

_CLOSED_SHARE = 0.05  # a weekday with trade less often than this is closed, as with one Saturday in two years
# How improbable it must be that an open store had no trade on those days by chance, to call them closed: of a
# weekday; of a day of the year, of which there are many.
_CHANCE_WEEKDAY = 0.01
_CHANCE_HOLIDAY = 0.0001
_HOLIDAY_YEARS = 2  # a day of the year without trade is a holiday once it has been seen this often
# The same of a public holiday, which is expected to be closed: it need be seen only once.
_CHANCE_PUBLIC = 0.1
# Stores that trade on more than this share of their open days tell which holidays they have: those of the
# country for which the share of them that was closed, less a half, adds up to so much.
_STEADY = 0.8
_LIKENESS = 1.5
_ALIKE = 0.85  # share of the largest likeness that is about as much
_DAYS_OF_YEAR = 12 * 31 + 31 + 1  # of the number month * 31 + day
# A pause between two days of trade is a shutdown if it is longer than this, and than so many usual pauses.
_SHUTDOWN_DAYS = 28
_SHUTDOWN_PAUSES = 8


def closed_days(panel: Panel, days: int) -> Mask:
    """On which of the first `days` columns the store of each series is closed; see `closed_and_country`."""
    return closed_and_country(panel, days)[0]


def closed_and_country(panel: Panel, days: int) -> tuple[Mask, str | None]:
    """On which days of the first `days` columns the store of each series is closed, or expected to be.

    Learned from the panel's own days since a store's first trade, without shutdowns: pauses that are long for
    the store, and over. Closed are shutdowns, weekdays on which a store hardly traded in its last year, and
    days of the year and public holidays on which it, or every store, never traded. A store that trades
    seldom, or is new, has no trade on some days by chance; where a store is too new to tell, the other
    stores' closed weekdays count. A series that never sold is closed.

    Returns:
        Shape (series, days), where `days` is at least the panel's; and the country whose public holidays
        are closed, if any is.
    """
    store = panel.groups("store_nbr")
    trade = summed(panel.sales, store) > 0
    shutdown = _shutdowns(trade)
    exists = np.maximum.accumulate(trade, axis=1) & ~shutdown
    dates = [panel.date(day) for day in range(days)]
    weekday = np.array([date.weekday() for date in dates])
    closed_weekday = _closed_weekdays(trade, exists, weekday[: panel.days])[:, weekday]
    open_ = exists & ~closed_weekday[:, : panel.days]
    of_year = np.array([date.month * 31 + date.day for date in dates])
    holiday = _holidays(trade, open_, of_year[: panel.days])[:, of_year]
    public, country = _public_holidays(trade, open_, dates)
    closed = closed_weekday | holiday | public
    closed[:, : panel.days] |= shutdown
    sold = np.fmax.reduce(panel.sales, axis=1) > 0
    return closed[store] | ~sold[:, None], country


def _shutdowns(trade: Mask) -> Mask:
    """Days of pauses that are long for a store and over, shape (stores, days)."""
    shutdown = np.zeros_like(trade)
    for store, traded in enumerate(trade):
        days = np.flatnonzero(traded)
        pauses = np.diff(days)
        if len(pauses) == 0:
            continue
        for at in np.flatnonzero(pauses > max(_SHUTDOWN_DAYS, _SHUTDOWN_PAUSES * np.median(pauses))):
            shutdown[store, days[at] + 1 : days[at + 1]] = True
    return shutdown


def _closed_weekdays(trade: Mask, exists: Mask, weekday: Numbers) -> Mask:
    """Shape (stores, weekdays), from the last year of days on which a store exists."""
    year = exists & (np.cumsum(exists[:, ::-1], axis=1)[:, ::-1] <= YEAR)
    of_weekday = weekday[:, None] == np.arange(SEASON)
    days = (year @ of_weekday.astype(int)).astype(float)
    traded = ((trade & year) @ of_weekday.astype(int)).astype(float)
    # How often a store trades on the other weekdays.
    usual = (traded.sum(axis=1, keepdims=True) - traded + 0.5) / (days.sum(axis=1, keepdims=True) - days + 1)
    certain = (1 - usual) ** days < _CHANCE_WEEKDAY
    closed = certain & (traded < _CLOSED_SHARE * days)
    everywhere = closed.any(axis=0) & (closed | ~certain).all(axis=0)
    return closed | (everywhere & ~certain & (traded == 0))


def _holidays(trade: Mask, open_: Mask, of_year: Numbers) -> Mask:
    """Days of the year without trade in any year: of all stores, or of one. Shape (stores, days of a year).

    Of all stores: seen twice, once on a day that is open otherwise (one alone may be a moving holiday). Of
    one store: seen twice on such days, and hardly by chance.
    """

    def per_day_of_year(counted: Mask) -> Numbers:
        return np.stack([np.bincount(of_year, row, _DAYS_OF_YEAR) for row in np.atleast_2d(counted)])

    def always(quiet: Mask, times: Numbers) -> Mask:
        return (per_day_of_year(quiet) == times) & (times >= _HOLIDAY_YEARS)

    begun = np.maximum.accumulate(trade.any(axis=0))
    quiet = begun & ~trade.any(axis=0)
    everybody = always(quiet, per_day_of_year(begun)) & (per_day_of_year(quiet & open_.any(axis=0)) > 0)
    usual = (trade & open_).sum(axis=1) / np.maximum(open_.sum(axis=1), 1)
    times = per_day_of_year(open_)
    return everybody | always(open_ & ~trade, times) & ((1 - usual)[:, None] ** times < _CHANCE_HOLIDAY)


def _public_holidays(trade: Mask, open_: Mask, dates: Sequence[datetime.date]) -> tuple[Mask, str | None]:
    """Public holidays on which a store, or all stores, never traded, shape (stores, days), and their country.

    Their country is the one whose national holidays had trade least often. A holiday is closed once it has
    been seen closed, and one that has not been seen where no national holiday ever had trade.
    """
    known = trade.shape[1]
    # All stores together are one more: where each trades seldom, only that tells.
    trade, open_ = (np.vstack([each, each.any(axis=0)]) for each in (trade, open_))
    usual = (trade & open_).sum(axis=1) / np.maximum(open_.sum(axis=1), 1)
    steady = open_ & (usual > _STEADY)[:, None]
    # From -0.5 where all that usually trade do so on a day, to 0.5 where none does.
    quiet = (steady & ~trade).sum(axis=0) / np.maximum(steady.sum(axis=0), 1) - steady.any(axis=0) / 2
    closed = np.zeros((len(trade), len(dates)), dtype=bool)
    country = likely_country(dates, lambda days: quiet[days[days < known]].sum(), _LIKENESS)
    if country is None:
        return closed[:-1], None
    for name, day in public_holidays(country, dates).items():
        past = day[day < known]
        times = open_[:, past].sum(axis=1)
        never = (times > 0) & ~(open_ & trade)[:, past].any(axis=1)
        chance = _CHANCE_HOLIDAY if name == NATIONAL else _CHANCE_PUBLIC
        closed[np.ix_(never & ((1 - usual) ** times < chance), day)] = True
    return closed[:-1] | closed[-1], country


def likely_country(
    dates: Sequence[datetime.date], likeness: Callable[[Numbers], float], least: float
) -> str | None:
    """The country whose national holidays are most like those of the sales; None if none is so much so.

    Of countries that are about as like, the one with most parts: islands have holidays of a country's part.
    """
    national = _national(dates[0].year, dates[-1].year)
    found = {name: likeness(_within(days, dates)) for name, days in national.items()}
    best = max(found.values())
    if best < least:
        return None
    parts = holidays.list_supported_countries(include_aliases=False)
    alike = [name for name, value in found.items() if value >= _ALIKE * best]
    return max(alike, key=lambda name: (len(parts[name]), found[name]))


def public_holidays(country: str, dates: Sequence[datetime.date]) -> dict[str, Numbers]:
    """Positions in `dates` of each holiday of a country and of its parts, and of all NATIONAL ones."""
    named = _by_name(country, dates[0].year, dates[-1].year)
    return {name: _within(days, dates) for name, days in named.items()}


def _within(ordinals: Numbers, dates: Sequence[datetime.date]) -> Numbers:
    days = ordinals - dates[0].toordinal()
    return days[(days >= 0) & (days < len(dates))]


@cache
def _national(first: int, last: int) -> dict[str, Numbers]:
    """Ordinals of the national holidays of each country in these years."""
    years = range(first, last + 1)
    return {
        name: np.array([day.toordinal() for day in holidays.country_holidays(name, years=years)], np.intp)
        for name in holidays.list_supported_countries(include_aliases=False)
    }


@cache
def _by_name(country: str, first: int, last: int) -> dict[str, Numbers]:
    named: dict[str, set[int]] = defaultdict(set)
    for part in (None, *holidays.list_supported_countries(include_aliases=False)[country]):
        for day, names in holidays.country_holidays(country, part, years=range(first, last + 1)).items():
            for name in names.split(HOLIDAY_NAME_DELIMITER):
                named[name].add(day.toordinal())
    return {NATIONAL: _national(first, last)[country]} | {
        name: np.array(sorted(days)) for name, days in named.items()
    }
