"""`python -m services.streaming`: answer requests from Pub/Sub until SIGTERM."""

import asyncio
import logging
import sys

from services import runtime
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.model_registry import ModelRegistry
from services.http.application import Application
from services.http.server import Server
from services.streaming.processing import ModelReplies, Processor
from services.streaming.pubsub import PubSub
from services.streaming.push import PushHandler
from services.streaming.table import PredictionsTable
from services.streaming.worker import Worker

_log = logging.getLogger("services.streaming")


async def run(settings: StreamingSettings) -> int:
    """Answer messages until SIGTERM or SIGINT, then finish or release those leased; returns the exit code.

    With push delivery readiness turns 503 first, and pushes are answered for `drain_seconds` more, until load
    balancers have noticed.
    """
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: ModelReplies(model.forecast, settings.max_range),
        settings.model_poll_seconds,
    )
    pubsub = PubSub(settings.subscription)
    table = PredictionsTable(settings.predictions_table)
    processor = Processor(settings, pubsub, table)
    worker = Worker(settings.max_messages, pubsub, processor, follower)
    application = Application([], lambda: follower.readiness(worker.fault or processor.fault))
    push = PushHandler(settings, processor, follower) if settings.delivery == "push" else None
    server = Server(application, push)
    stop = await runtime.listen(server, settings)
    follower.start()
    failed = False
    try:
        await (stop.wait() if push else worker.run(stop))
    except Exception:
        _log.exception("the worker ended unexpectedly")
        failed = True
    follower.stop()
    finished = await runtime.drain(server, settings.drain_seconds if push else 0)
    await table.close()
    return int(failed or not finished)


if __name__ == "__main__":
    sys.exit(asyncio.run(run(runtime.start(StreamingSettings))))
