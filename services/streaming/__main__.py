"""`python -m services.streaming`: answer requests from Pub/Sub until SIGTERM."""

import asyncio
import logging
import sys

from services import runtime
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.model_registry import ModelRegistry
from services.http.server import Server
from services.streaming.application import Application
from services.streaming.processing import Processor
from services.streaming.pubsub import PubSub
from services.streaming.push import PushHandler
from services.streaming.replies import ModelReplies
from services.streaming.table import PredictionsTable
from services.streaming.worker import FINISH_SECONDS, Worker

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
    pubsub = PubSub()
    table = PredictionsTable(settings.predictions_table)
    processor = Processor(settings, pubsub, table)
    worker = Worker(settings, pubsub, processor, follower)
    application = Application(follower, lambda: worker.fault or processor.fault)
    push = PushHandler(settings, processor, follower) if settings.delivery == "push" else None
    server = Server(application, push)
    stop = await runtime.listen(server, settings.host, settings.port)
    follower.start()
    stopping = asyncio.create_task(stop.wait())
    pulling = None if push else asyncio.create_task(worker.run())
    await asyncio.wait({stopping, pulling or stopping}, return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()
    application.draining = True
    if pulling is None:
        _log.info("draining for %s s", settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    else:
        if failed:
            _log.error("the worker ended unexpectedly", exc_info=pulling.exception())
        worker.stop()
        await asyncio.wait({pulling})
    follower.stop()
    finished = await server.close(FINISH_SECONDS)
    await table.close()
    if not finished:
        _log.error("requests still in flight after %s s are aborted", FINISH_SECONDS)
        return 1
    _log.info("stopped")
    return int(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(run(runtime.start(StreamingSettings))))
