"""CPU time per request of this service, and of others that serve the same forecast.

Each server runs on core 0 and the load generator, wrk, on core 1. All servers run throughout; the cells are
measured in turn, round by round, so that other load on the machine affects all alike. CPU time is that of all
processes of a server (utime and stime of /proc), divided by the requests answered; unlike elapsed time, it
does not depend on how busy the machine is.

Two questions: the cost of serving alone (peers answer with a constant; our service does its usual work), and
the cost of a forecast of N days when a request calls the model N times, compared with precomputed responses.
"""

import contextlib
import dataclasses
import functools
import shutil
import urllib.parse
from typing import Final

from scripts.bench import harness, model, wrk
from scripts.bench.servers import OURS, WORK, Server, floor, our_servers, peers
from scripts.command import command, command_parser
from scripts.own_emulators import own_emulators

CONNECTIONS: Final = (1, 16, 64)
DAYS: Final = (30, 1)
ROUNDS: Final = 3
SECONDS: Final = 2
"""Of each cell and round."""
MODEL_CONNECTIONS: Final = 4
"""Few: requests that are not answered when the time is up cost CPU and are not counted."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """CPU microseconds per request, requests per second, latencies in milliseconds."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float


@dataclasses.dataclass(frozen=True)
class Result(Cell):
    """Cost of serving alone: of 64 connections where nothing else is said; memory is PSS."""

    cpu_us_at_16: float
    cpu_us_at_1: float
    pss_mib: float
    ready_seconds: float
    ready_cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """CPU microseconds for a forecast of N days."""

    cpu_us_30_days: float
    cpu_us_1_day: float


def measure(server: Server, connections: int, days: int, seconds: int) -> Cell:
    """Send requests to a server from core 1.

    Raises:
        CommandError: an answer was not a success.
    """
    url = f"http://127.0.0.1:{server.port}{server.path.format(days=days)}"
    body = server.body and server.body.replace("{days}", str(days))
    before = server.cpu_seconds()
    load = wrk.run(url, connections, seconds, body)
    used = server.cpu_seconds() - before
    return Cell(used / load.requests * 1e6, load.requests / load.seconds, load.p50_ms, load.p99_ms)


@command("bench-serving")
def main() -> int:
    """Measure, print and write the result."""
    command_parser(__doc__).parse_args()
    wrk.check("nginx")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)

    with contextlib.ExitStack() as stack:
        stack.enter_context(own_emulators())
        forecast = model.publish()
        series = urllib.parse.urlencode({"store_nbr": forecast.store_nbr[0], "family": forecast.family[0]})
        environment = {"MODEL_BUCKET": model.BUCKET, "HOST": "127.0.0.1"}

        def up(servers: list[Server]) -> list[Server]:
            for server in servers:
                stack.callback(server.stop)
                server.start()
            return servers

        mine = up(our_servers(environment, series))
        serving = [*up([floor()]), *mine, *up(peers(model=False))]
        modelled = [mine[0], *up(peers(model=True))]
        loads = {
            (server.name, connections): functools.partial(measure, server, connections, 7, SECONDS)
            for connections in CONNECTIONS
            for server in serving
        }
        cells = harness.interleave(loads, ROUNDS, warm_up=True)
        calls = {
            (server.name, days): functools.partial(measure, server, MODEL_CONNECTIONS, days, SECONDS + 1)
            for days in DAYS
            for server in modelled
        }
        costs = harness.interleave(calls, ROUNDS, warm_up=False)
        results = {
            server.name: Result(
                **dataclasses.asdict(cells[server.name, 64]),
                cpu_us_at_16=cells[server.name, 16].cpu_us,
                cpu_us_at_1=cells[server.name, 1].cpu_us,
                pss_mib=server.pss_mib(),
                ready_seconds=server.ready_seconds,
                ready_cpu_seconds=server.ready_cpu_seconds,
            )
            for server in serving
        }
    forecasts = {
        server.name: Forecasts(*(costs[server.name, days].cpu_us for days in DAYS)) for server in modelled
    }
    harness.publish("serving", "Serving alone: a week of one series", results, ours=OURS)
    title = f"With a model, {MODEL_CONNECTIONS} connections"
    harness.publish("serving-models", title, forecasts, ours=OURS)
    return 0
