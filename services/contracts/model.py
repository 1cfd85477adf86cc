"""Layout of the model registry: a bucket with `sales/<version>/` folders and one pointer."""

import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MODEL_PREFIX: Final = "sales"
POINTER_OBJECT: Final = f"{MODEL_PREFIX}/current.json"
MANIFEST_FILE: Final = "manifest.json"
DECISION_FILE: Final = "decision.json"

HORIZON_DAYS: Final = 60
"""Days every published model forecasts, so the most that a service may be configured to answer."""
HISTORY_DAYS: Final = 180
"""Most days of past sales that a version keeps."""
LEVELS: Final = ("total", "store_nbr", "family", "series")
"""Levels of aggregation: sums of all series, of a store's, of a family's, and the series themselves."""

Version = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")]


class Pointer(msgspec.Struct, frozen=True):
    """`sales/current.json`: the version served. Replaced only with a generation precondition."""

    version: Version
    published_at: Annotated[datetime.datetime, Meta(tz=True)]
    previous: Version | None = None  # the version it named before: the one to roll back to


class Decision(msgspec.Struct, frozen=True):
    """`decision.json` beside a version's manifest: what the day after its last day is scored with, and why.

    Kept, since which version was published at the time cannot be told later.
    """

    score_with: Annotated[Version, Meta(description="Itself, or where it was refused the published one.")]
    reason: str
    decided_at: Annotated[datetime.datetime, Meta(tz=True)]


class Accuracy(msgspec.Struct, frozen=True):
    """Backtest errors of one level of aggregation, averaged over origins and series."""

    mase: Annotated[float, Meta(description="Mean absolute scaled error, season 7 (Hyndman & Koehler 2006).")]
    wape: Annotated[float, Meta(description="Sum of absolute errors over sum of sales.")]
    rmse: Annotated[float, Meta(description="Root mean squared error, units sold.")]
    bias: Annotated[
        float | None,
        Meta(description="Sum of forecast less sold, over sum of sales; absent in old versions."),
    ] = None


class Coverage(msgspec.Struct, frozen=True):
    """Share of actual sales inside their interval; None where the data is too short to tell."""

    thirds: Annotated[dict[str, float | None], Meta(description="Small, middle and large series.")]
    horizons: Annotated[dict[str, float | None], Meta(description="Range of days ahead to share, of series.")]
    levels: Annotated[dict[str, float | None], Meta(description="Level to share.")]


class Backtest(msgspec.Struct, frozen=True):
    """A rolling-origin backtest: the model, as it would have been served, and others on the same windows.

    Each level of LEVELS is a sum of the series' own forecasts.
    """

    horizon: int
    origins: list[datetime.date]
    model: Annotated[dict[str, Accuracy], Meta(description="Level to score.")]
    seasonal_naive: dict[str, Accuracy]
    candidates: Annotated[
        dict[str, dict[str, Accuracy]], Meta(description="Each forecaster on its own, by name and level.")
    ]
    chosen: Annotated[dict[str, int], Meta(description="Forecaster to the number of series it serves.")]
    tuned: Annotated[str, Meta(description="On which data the model's parameters were chosen.")]
    coverage: Annotated[float, Meta(ge=0, le=1, description="Share of actual values inside the interval.")]
    coverage_by: Annotated[
        Coverage | None, Meta(description="The same by size, horizon and level; absent in old versions.")
    ] = None
    country: Annotated[
        str | None, Meta(description="ISO 3166 code of the country whose public holidays the sales show.")
    ] = None
    holiday_effects: Annotated[
        bool, Meta(description="Whether the forecast assumes that they change the sales of open stores.")
    ] = False


class Manifest(msgspec.Struct, frozen=True):
    """`manifest.json` of a version, written last: a version without one is incomplete."""

    version: Version
    created_at: Annotated[datetime.datetime, Meta(tz=True)]
    code_version: Annotated[str, Meta(description="SHA-256 of the training code and its libraries.")]
    data_fingerprint: Annotated[str, Meta(description="SHA-256 of the training rows, sorted.")]
    first_date: datetime.date
    last_date: datetime.date
    series: int
    horizon: Annotated[int, Meta(description="Days the version can forecast.")]
    interval: Annotated[float, Meta(description="Nominal coverage of lower..upper.")]
    backtest: Backtest
    files: Annotated[dict[str, str], Meta(description="File name to SHA-256.")]
    planned_until: Annotated[
        datetime.date | None,
        Meta(description="Last day of the planned promotions that the forecast assumes, if it does."),
    ] = None
