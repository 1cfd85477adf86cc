"""Other clients of Pub/Sub that answer requests: `python -m scripts.bench.streaming_clients naive`.

Configured by environment variables, as the streaming service is.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import msgspec
from google.cloud import pubsub_v1

from scripts.bench import model
from services.answers import decode
from services.contracts.messages import ModelReference, SalePrediction, SaleRangeRequest
from services.contracts.settings import StreamingSettings, from_environment
from services.streaming.replies import ModelReplies

DAYS: Final = 30
"""Length of every forecast asked for."""


def naive(settings: StreamingSettings) -> None:
    """As in the documentation: look up, encode, publish, wait, acknowledge."""
    version = model.load()
    publisher = pubsub_v1.PublisherClient()
    subscriber = pubsub_v1.SubscriberClient()

    def callback(message: Any) -> None:
        request = msgspec.json.decode(message.data, type=SaleRangeRequest)
        series = version.forecast.select(store_nbr=[str(request.store_nbr)], family=[str(request.family)])
        rows = version.forecast.rows(request.range, series.tolist())
        reference = ModelReference(version.manifest.version)
        reply = SalePrediction(request.request_id, True, reference, rows)
        data = msgspec.json.encode(reply)
        publisher.publish(settings.reply_topic, data, request_id=request.request_id).result()
        message.ack()

    subscriber.subscribe(settings.subscription, callback).result()


def tuned(settings: StreamingSettings) -> None:
    """The same client without waiting, and with replies encoded once."""
    replies = ModelReplies(model.load().forecast, DAYS)
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


CLIENTS: Final[dict[str, Callable[[StreamingSettings], None]]] = {"naive": naive, "tuned": tuned}


if __name__ == "__main__":
    CLIENTS[sys.argv[1]](from_environment(StreamingSettings, os.environ))
