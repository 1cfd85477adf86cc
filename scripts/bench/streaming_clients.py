"""Other clients of Pub/Sub that answer requests: `python -m scripts.bench.streaming_clients naive`."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import msgspec
from google.cloud import pubsub_v1

from services.answers import Replies, decode
from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.contracts.settings import StreamingSettings, from_environment
from services.forecasting.artifact import Model
from services.forecasting.model_registry import ModelRegistry

DAYS: Final = 30
"""Length of every forecast asked for."""


def naive(settings: StreamingSettings, model: Model) -> None:
    """As in the documentation: look up, encode, publish, wait, acknowledge."""
    forecast, reference = model.forecast, ModelReference(model.manifest.version)
    publisher = pubsub_v1.PublisherClient()
    subscriber = pubsub_v1.SubscriberClient()

    def callback(message: Any) -> None:
        request = msgspec.json.decode(message.data, type=SaleRangeRequest)
        series = forecast.select(store_nbr=[str(request.store_nbr)], family=[str(request.family)])
        rows = forecast.rows(request.range, series.tolist())
        data = msgspec.json.encode(SalePrediction(request.request_id, True, reference, rows))
        publisher.publish(settings.reply_topic, data, request_id=request.request_id).result()
        message.ack()

    subscriber.subscribe(settings.subscription, callback).result()


def tuned(settings: StreamingSettings, model: Model) -> None:
    """The same client without waiting, and with replies encoded once."""
    replies = Replies(model.forecast, DAYS)
    publisher = pubsub_v1.PublisherClient(
        pubsub_v1.types.BatchSettings(max_messages=1000, max_bytes=9_000_000, max_latency=0.05)
    )
    subscriber = pubsub_v1.SubscriberClient()

    def callback(message: Any) -> None:
        request = decode(message.data, message.message_id, DAYS)
        data = replies.reply(request)
        future = publisher.publish(settings.reply_topic, data, request_id=request.request_id)

        def acknowledge(_: "Future[str]") -> None:
            message.ack()

        future.add_done_callback(acknowledge)

    wide = pubsub_v1.types.FlowControl(max_messages=10_000, max_bytes=100 * 2**20)
    subscriber.subscribe(settings.subscription, callback, flow_control=wide).result()


CLIENTS: Final[dict[str, Callable[[StreamingSettings, Model], None]]] = {"naive": naive, "tuned": tuned}


def main(name: str) -> None:
    """Answer messages, configured by environment variables as the streaming service is."""
    settings = from_environment(StreamingSettings, os.environ)
    registry = ModelRegistry(settings.model_bucket)
    pointer = registry.pointer()
    assert pointer is not None, "publish first"  # noqa: S101
    CLIENTS[name](settings, registry.load(pointer[0].version))


if __name__ == "__main__":
    main(sys.argv[1])
