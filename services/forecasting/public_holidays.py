"""Public holidays of the countries, as positions in a list of consecutive days."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import holidays
import numpy as np
from holidays.constants import HOLIDAY_NAME_DELIMITER
from numpy.typing import NDArray

ANY: Final = "any national holiday"
# Share of the largest likeness that is about as much.
_ALIKE: Final = 0.85


def country(
    dates: Sequence[datetime.date], likeness: Callable[[NDArray[np.intp]], float], least: float
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


def by_name(country: str, dates: Sequence[datetime.date]) -> dict[str, NDArray[np.intp]]:
    """Each holiday of a country and of its parts, and ANY, all national ones."""
    named = _by_name(country, dates[0].year, dates[-1].year)
    return {name: _within(days, dates) for name, days in named.items()}


def _within(ordinals: NDArray[np.intp], dates: Sequence[datetime.date]) -> NDArray[np.intp]:
    days = ordinals - dates[0].toordinal()
    return days[(days >= 0) & (days < len(dates))]


@cache
def _national(first: int, last: int) -> dict[str, NDArray[np.intp]]:
    """Ordinals of the national holidays of each country in these years."""
    years = range(first, last + 1)
    return {
        country: np.array(
            [day.toordinal() for day in holidays.country_holidays(country, years=years)], np.intp
        )
        for country in holidays.list_supported_countries(include_aliases=False)
    }


@cache
def _by_name(country: str, first: int, last: int) -> dict[str, NDArray[np.intp]]:
    """Ordinals in these years of each holiday of a country and of its parts, and of all national ones."""
    named: dict[str, set[int]] = defaultdict(set)
    for part in (None, *holidays.list_supported_countries(include_aliases=False)[country]):
        for day, names in holidays.country_holidays(country, part, years=range(first, last + 1)).items():
            for name in names.split(HOLIDAY_NAME_DELIMITER):
                named[name].add(day.toordinal())
    return {ANY: _national(first, last)[country]} | {
        name: np.array(sorted(days)) for name, days in named.items()
    }
