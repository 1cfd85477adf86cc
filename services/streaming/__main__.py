"""`python -m services.streaming`: answer requests from Pub/Sub until SIGTERM."""

import asyncio
import logging
import os
import signal
import socket
import sys

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from services import runtime
from services.contracts.settings import StreamingSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.registry import ModelRegistry
from services.streaming import pubsub
from services.streaming.answers import Answers
from services.streaming.application import Application
from services.streaming.processing import Processor
from services.streaming.table import PredictionsTable
from services.streaming.worker import FINISH_SECONDS, Worker

_log = logging.getLogger("services.streaming")

# Of a connection without a request. Google's load balancers keep theirs for 600 s and ask for 620:
# https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends
_KEEP_ALIVE_SECONDS = 620


async def work(settings: StreamingSettings) -> int:
    """Work until SIGTERM or SIGINT, then finish or release what is leased; return the exit code.

    Where messages are pushed, readiness turns 503 first, and they are answered for `drain_seconds` more,
    until load balancers have noticed.
    """
    try:
        # Granian's listeners share a port (SO_REUSEPORT), even with those of another process.
        socket.create_server((settings.host, settings.port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        print(f"error: cannot listen on {settings.host}:{settings.port}: {reason}", file=sys.stderr)
        return 1
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: Answers(model, settings.max_range),
        settings.model_poll_seconds,
    )
    subscriber, publisher = pubsub.clients()
    table = PredictionsTable(settings.predictions_table)
    processor = Processor(settings, publisher, table)
    worker = Worker(settings, subscriber, processor, follower)
    application = Application(settings, processor, follower, lambda: worker.fault)
    # One process, no process manager: Kubernetes restarts and multiplies pods.
    server = Server(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=_KEEP_ALIVE_SECONDS * 1000),
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}},
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    follower.start()
    working = {serving, asyncio.create_task(stop.wait())}
    pulling = asyncio.create_task(worker.run()) if settings.delivery == "pull" else None
    if pulling:
        working.add(pulling)
    await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()
    if failed:
        _log.error("ended without being told to", exc_info=next(iter(working)).exception())

    application.draining = True
    if pulling:
        worker.stop()
        await asyncio.wait({pulling})
    elif not failed:
        _log.info("draining for %s s", settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    server.stop()
    follower.stop()
    _, unfinished = await asyncio.wait({serving}, timeout=FINISH_SECONDS)
    await table.close()
    if unfinished:
        _log.error("requests still under way after %s s are cut off", FINISH_SECONDS)
        return 1
    _log.info("stopped")
    return int(failed)


if __name__ == "__main__":
    code = asyncio.run(work(runtime.start(StreamingSettings)))
    logging.shutdown()
    # Granian's runtime thread may still be about to end, and panics if it meets the interpreter's teardown.
    os._exit(code)
