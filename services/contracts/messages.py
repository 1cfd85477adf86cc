"""Messages on Pub/Sub and over HTTP."""

import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from services.contracts.model import HISTORY_DAYS, Backtest

Key = Annotated[str, Meta(min_length=1, max_length=128)]
Keys = Annotated[list[Key], Meta(min_length=1)]
Days = Annotated[
    int, Meta(ge=1, description="Number of days to forecast, from the day after the model's last.")
]
ReplyTopic = Annotated[
    str, Meta(min_length=1, max_length=512, description="Topic for the reply, if not `sale-predictions`.")
]


class SaleRangeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request on topic `sale-range`: forecast the next `range` days, all series or those named."""

    request_id: Annotated[Key, Meta(description="Chosen by the sender; returned with the answer.")]
    range: Days
    store_nbr: Annotated[Key, Meta(description="Only this store; all when absent.")] | None = None
    family: Annotated[Key, Meta(description="Only this family; all when absent.")] | None = None
    mode: Annotated[
        Literal["passive", "active"],
        Meta(description="passive: rows are saved in BigQuery. active: one reply on `sale-predictions`."),
    ] = "passive"
    reply_to: ReplyTopic | None = None


Format = Annotated[
    Literal["json", "csv"],
    Meta(description="Of the answer. When absent, what the Accept header prefers, else JSON."),
]
Layout = Annotated[
    Literal["rows", "columns", "sum"],
    Meta(
        description="rows: one for each day of each series. columns: the same in JSON, a list for each. "
        "sum: a row for each day, all chosen series added up."
    ),
]


class PredictionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `/predict` is asked: the JSON body of a POST, or the parameters of a GET's query."""

    range: Days
    store_nbr: Annotated[Key | Keys | None, Meta(description="Only these stores; all when absent.")] = None
    family: Annotated[Key | Keys | None, Meta(description="Only these families; all when absent.")] = None
    format: Format | None = None
    layout: Layout = "rows"


class HistoryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `/history` is asked: the parameters of a query."""

    range: Annotated[
        int, Meta(ge=1, le=HISTORY_DAYS, description="Number of last days; of fewer, all are answered.")
    ] = HISTORY_DAYS
    store_nbr: Annotated[Keys | None, Meta(description="Only these stores; all when absent.")] = None
    family: Annotated[Keys | None, Meta(description="Only these families; all when absent.")] = None
    format: Format | None = None
    layout: Layout = "rows"


class PredictionRow(msgspec.Struct, frozen=True):
    """One forecast value: a day of a series, with its prediction interval, in units sold per day."""

    date: Annotated[datetime.date, Meta(description="Day forecast, ISO 8601.")]
    store_nbr: Annotated[str, Meta(description="Store.")]
    family: Annotated[str, Meta(description="Family of products.")]
    sales: Annotated[float, Meta(ge=0, description="Expected units sold.")]
    lower: Annotated[float, Meta(ge=0, description="Lower end of the prediction interval.")]
    upper: Annotated[float, Meta(ge=0, description="Upper end of the prediction interval.")]


class ModelReference(msgspec.Struct, frozen=True):
    """Which model answered."""

    version: Annotated[str, Meta(description="Version folder in the models bucket.")]


class ForecastReference(ModelReference, frozen=True):
    """Which model made a forecast, and what it took as known."""

    planned_until: Annotated[
        datetime.date | None,
        Meta(description="Last day of the planned promotions that the forecast assumes, null for none."),
    ]


class SumRow(msgspec.Struct, frozen=True):
    """A day of the chosen series together, with the prediction interval of their sum, in units sold per day.

    One series, a store, a family and everything have an interval; other sums have none.
    """

    date: Annotated[datetime.date, Meta(description="Day forecast, ISO 8601.")]
    sales: Annotated[float, Meta(ge=0, description="Expected units sold.")]
    lower: Annotated[float | None, Meta(description="Lower end of the prediction interval.")]
    upper: Annotated[float | None, Meta(description="Upper end of the prediction interval.")]


class PredictionResponse(msgspec.Struct, frozen=True):
    """The body of a successful `/predict`; other layouts have PredictionColumns or SumRows."""

    success: bool
    model: ForecastReference
    prediction: list[PredictionRow]


class HistoryRow(msgspec.Struct, frozen=True):
    """What a series sold on a day."""

    date: Annotated[datetime.date, Meta(description="Day of sale, ISO 8601.")]
    store_nbr: Annotated[str, Meta(description="Store.")]
    family: Annotated[str, Meta(description="Family of products.")]
    sales: Annotated[float, Meta(ge=0, description="Units sold.")]


class HistorySumRow(msgspec.Struct, frozen=True):
    """What the chosen series sold together on a day."""

    date: Annotated[datetime.date, Meta(description="Day of sale, ISO 8601.")]
    sales: Annotated[float, Meta(ge=0, description="Units sold.")]


class HistoryColumns(msgspec.Struct, frozen=True):
    """Past sales by column, all of the same length: the fields of `HistoryRow`."""

    date: list[datetime.date]
    store_nbr: list[str]
    family: list[str]
    sales: list[float]


class PredictionColumns(HistoryColumns, frozen=True):
    """Forecast values by column, all of the same length: the fields of `PredictionRow`."""

    lower: list[float]
    upper: list[float]


class HistoryResponse(msgspec.Struct, frozen=True):
    """The body of a successful `/history`; other layouts have HistoryColumns or HistorySumRows."""

    success: bool
    model: ModelReference
    history: list[HistoryRow]


class ModelDescription(msgspec.Struct, frozen=True):
    """A model version as `/models` tells of it."""

    version: str
    created_at: Annotated[datetime.datetime, Meta(tz=True, description="When it was trained.")]
    age_seconds: Annotated[float, Meta(description="Time since then.")]
    first_date: Annotated[datetime.date, Meta(description="First day of the training data.")]
    last_date: Annotated[datetime.date, Meta(description="Last day of the training data.")]
    series: Annotated[int, Meta(description="Number of series.")]
    horizon: Annotated[int, Meta(description="Days it forecasts.")]
    interval: Annotated[float, Meta(description="Nominal coverage of lower..upper.")]
    backtest: Backtest


class ModelsResponse(msgspec.Struct, frozen=True):
    """The body of `/models`."""

    current: ModelDescription
    previous: Annotated[ModelDescription | None, Meta(description="The one to roll back to, null for none.")]
    max_range: Annotated[int, Meta(description="Most days that can be asked for.")]
    fault: Annotated[
        str | None, Meta(description="Why the version the registry points to is not served, if so.")
    ]


class Readiness(msgspec.Struct, frozen=True):
    """The body of the readiness path."""

    ready: bool
    model: str | None  # version served
    fault: str | None  # why not ready, or what is wrong although ready


Allowed = Annotated[
    list[str] | dict[str, int], Meta(description="Values to choose from, or the limits of a number.")
]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error over HTTP: problem details of RFC 9457, of type `about:blank`."""

    success: Literal[False]
    title: Annotated[str, Meta(description="The status in words.")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong with this request, and what is allowed.")]
    parameter: Annotated[str, Meta(description="The parameter at fault.")] | None = None
    allowed: Allowed | None = None


class SalePrediction(msgspec.Struct, frozen=True):
    """The reply to an active request, on topic `sale-predictions` or the one in its `reply_to`.

    `success` is false for a request that was understood and cannot be answered; the attribute `reason` of the
    reply says why.
    """

    request_id: Annotated[str, Meta(description="That of the request.")]
    success: bool
    model: ModelReference
    prediction: list[PredictionRow]


WITH_SCHEMA: Final[tuple[type[msgspec.Struct], ...]] = (SalePrediction,)
"""Messages of topics with a schema, whose next revisions must fit those of the last release."""
