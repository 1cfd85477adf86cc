"""`python -m services.prediction`: serve forecasts over HTTP until SIGTERM."""

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
from services.contracts.settings import PredictionSettings
from services.forecasting.follower import ModelFollower
from services.forecasting.registry import ModelRegistry
from services.prediction.answers import Answers
from services.prediction.application import Application

_log = logging.getLogger("services.prediction")

# Of a connection without a request. Google's load balancers keep theirs for 600 s and ask for 620:
# https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends
_KEEP_ALIVE_SECONDS = 620
# For requests still under way when the listener has closed.
_FINISH_SECONDS = 15


async def serve(settings: PredictionSettings) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code.

    First readiness turns 503 while requests are still answered, so that load balancers look elsewhere;
    after `drain_seconds` the listener closes and requests under way are finished.
    """
    try:
        # Granian's listeners share a port (SO_REUSEPORT), even with those of another process.
        socket.create_server((settings.host, settings.port)).close()
    except OSError as error:
        print(f"error: cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    follower = ModelFollower(
        ModelRegistry(settings.model_bucket),
        lambda model: Answers(model, settings.max_range),
        settings.model_poll_seconds,
    )
    application = Application(settings, follower)
    # Embedded rather than Granian's process manager: that one closes the listener at SIGTERM, and takes
    # a process more. A pod is one process; Kubernetes restarts and multiplies it.
    server = Server(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        http1_settings=HTTP1Settings(header_read_timeout=_KEEP_ALIVE_SECONDS * 1000),
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}},
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    follower.start()
    await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        return 1

    _log.info("draining for %s s", settings.drain_seconds)
    application.draining = True
    await asyncio.sleep(settings.drain_seconds)
    server.stop()
    follower.stop()
    _, unfinished = await asyncio.wait({serving}, timeout=_FINISH_SECONDS)
    application.flush_access_log()
    if unfinished:
        _log.error("requests still under way after %s s are cut off", _FINISH_SECONDS)
        return 1
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    code = asyncio.run(serve(runtime.start(PredictionSettings)))
    logging.shutdown()
    # Granian's runtime thread may still be about to end, and panics if it meets the interpreter's teardown.
    os._exit(code)
