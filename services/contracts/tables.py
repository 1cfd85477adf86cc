"""Rows of the BigQuery tables."""

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta


class Sale(msgspec.Struct, frozen=True):
    """A day's sales of one family in one store: the input of the model.

    Rows without sales, on the days after the last sale, are the promotions planned.
    """

    date: Annotated[datetime.date, Meta(description="Day of sale.")]
    store_nbr: Annotated[str, Meta(min_length=1, description="Store.")]
    family: Annotated[str, Meta(min_length=1, description="Family of products.")]
    sales: Annotated[float, Meta(ge=0, description="Units sold; NULL on days to come.")] | None
    onpromotion: (
        Annotated[int, Meta(ge=0, description="Items of the family on promotion that day.")] | None
    ) = None


class Prediction(msgspec.Struct, frozen=True):
    """One forecast value saved for a passive request."""

    request_id: Annotated[str, Meta(description="The request that asked for it.")]
    model_version: Annotated[str, Meta(description="Model that made it.")]
    date: Annotated[datetime.date, Meta(description="Day forecast.")]
    store_nbr: Annotated[str, Meta(description="Store.")]
    family: Annotated[str, Meta(description="Family of products.")]
    sales: Annotated[float, Meta(description="Expected units sold.")]
    lower: Annotated[float, Meta(description="Lower end of the prediction interval.")]
    upper: Annotated[float, Meta(description="Upper end of the prediction interval.")]
    published_at: Annotated[datetime.datetime, Meta(tz=True, description="When the request was published.")]
    processed_at: Annotated[datetime.datetime, Meta(tz=True, description="When it was answered.")]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One forecast value of a day's batch scoring; the rows of a `run_date` are replaced as a whole."""

    run_date: Annotated[datetime.date, Meta(description="Day of the run, the first day not known to it.")]
    model_version: Annotated[str, Meta(description="Model that made it.")]
    date: Annotated[datetime.date, Meta(description="Day forecast.")]
    store_nbr: Annotated[str, Meta(description="Store.")]
    family: Annotated[str, Meta(description="Family of products.")]
    sales: Annotated[float, Meta(description="Expected units sold.")]
    lower: Annotated[float, Meta(description="Lower end of the prediction interval.")]
    upper: Annotated[float, Meta(description="Upper end of the prediction interval.")]
    request_id: Annotated[str, Meta(description="The request it answers, where there was one.")] | None = None


class Request(msgspec.Struct, frozen=True):
    """A request as it was published.

    Columns are those of a BigQuery subscription with `write_metadata` and no schema
    (https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata).
    """

    subscription_name: Annotated[str, Meta(description="Subscription that delivered it.")]
    message_id: Annotated[str, Meta(description="Pub/Sub message id.")]
    publish_time: Annotated[datetime.datetime, Meta(tz=True, description="When Pub/Sub accepted it.")]
    attributes: Annotated[str, Meta(description="Message attributes, a JSON object.")]
    data: Annotated[bytes, Meta(description="Message body as sent.")]
