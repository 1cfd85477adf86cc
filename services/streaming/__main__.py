"""`python -m services.streaming`: answer requests from Pub/Sub until SIGTERM."""

import asyncio
import logging
import signal
import sys

from services import runtime
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.registry import ModelRegistry
from services.streaming import health, pubsub
from services.streaming.answers import Answers
from services.streaming.table import PredictionsTable
from services.streaming.worker import Worker

_log = logging.getLogger("services.streaming")


async def work(settings: StreamingSettings) -> int:
    """Work until SIGTERM or SIGINT, then finish or release what is leased; return the exit code."""
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: Answers(model, settings.max_range),
        settings.model_poll_seconds,
    )
    subscriber, publisher = pubsub.clients()
    worker = Worker(settings, subscriber, publisher, PredictionsTable(settings.predictions_table), follower)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    try:
        health.serve(settings.host, settings.port, worker.readiness)
    except OSError as error:
        print(f"error: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    follower.start()
    await worker.run()
    follower.stop()
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(work(runtime.start(StreamingSettings))))
