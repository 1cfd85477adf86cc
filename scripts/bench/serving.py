"""CPU time per request of this service, and of others that serve the same forecast.

Each server runs on core 0 and the load generator, wrk, on core 1. All servers run throughout; the cells are
measured in turn, round by round, so that other load on the machine affects all alike. CPU time is that of all
processes of a server (utime and stime of /proc), divided by the requests answered; unlike elapsed time, it
does not depend on how busy the machine is.

Two questions: the cost of serving alone (peers answer with a constant; our service does its usual work), and
the cost of a forecast of N days when a request calls the model N times, compared with precomputed responses.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from typing import Final

from scripts.bench import harness, model
from scripts.bench.servers import OURS, WORK, Server, floor, our_servers, peers
from scripts.own_emulators import own_emulators

CONNECTIONS: Final = (1, 16, 64)
DAYS: Final = (1, 30)
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
class Result:
    """Cost of serving alone; rate and latencies are those of 64 connections, memory is PSS."""

    cpu_us_at_64: float
    cpu_us_at_16: float
    cpu_us_at_1: float
    rps: float
    p50_ms: float
    p99_ms: float
    pss_mib: float
    ready_seconds: float
    ready_cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """CPU microseconds for a forecast of N days."""

    cpu_us_30_days: float
    cpu_us_1_day: float


def result(server: Server, cells: Mapping[tuple[str, int], Cell]) -> Result:
    """What was measured of a server."""
    one, few, many = (cells[server.name, connections] for connections in CONNECTIONS)
    return Result(
        many.cpu_us,
        few.cpu_us,
        one.cpu_us,
        many.rps,
        many.p50_ms,
        many.p99_ms,
        server.pss_mib(),
        server.ready_seconds,
        server.ready_cpu_seconds,
    )


def measure(server: Server, connections: int, days: int, seconds: int) -> Cell:
    """Send requests to a server from core 1.

    Raises:
        RuntimeError: an answer was not a success.
    """
    path = server.path.format(days=days)
    command = ["taskset", "--cpu-list", "1", "wrk", "--threads", "1", "--connections", str(connections)]
    if server.body is not None:
        script = WORK / "post.lua"
        body = json.dumps(server.body.replace("{days}", str(days)))
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = {body}\nwrk.headers["Content-Type"] = "application/json"\n'
        )
        command += ["--script", str(script)]
    url = f"http://127.0.0.1:{server.port}{path}"
    before = server.cpu_seconds()
    output = subprocess.run(
        [*command, "--duration", f"{seconds}s", "--timeout", "30s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = server.cpu_seconds() - before
    requests = re.search(r"(\d+) requests in", output)
    if "Non-2xx" in output or "Socket errors" in output or requests is None or not int(requests[1]):
        raise RuntimeError(f"{server.name}, {connections} connections, {url}:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output  # noqa: S101 -- wrk always says so
    return Cell(
        used / int(requests[1]) * 1e6, float(rate[1]), percentile(output, "50%"), percentile(output, "99%")
    )


def percentile(output: str, name: str) -> float:
    """A latency percentile from wrk's output, in milliseconds."""
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    assert found is not None, output  # noqa: S101 -- wrk always says so
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[found[2]]


def main() -> int:
    """Measure, print and write the result; 1 if the machine lacks a program or a core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each cell and round")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "nginx", "taskset") if not shutil.which(name)]
    if missing or (os.cpu_count() or 1) < 2:
        print(
            f"needs two cores and {', '.join(missing) or 'what is there'}: see scripts/debian_packages.sh",
            file=sys.stderr,
        )
        return 1
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
        cells = harness.interleave(
            {
                (server.name, connections): functools.partial(
                    measure, server, connections, 7, options.seconds
                )
                for connections in CONNECTIONS
                for server in serving
            },
            options.rounds,
            warm_up=True,
        )
        costs = harness.interleave(
            {
                (server.name, days): functools.partial(
                    measure, server, MODEL_CONNECTIONS, days, options.seconds + 1
                )
                for days in DAYS
                for server in modelled
            },
            options.rounds,
            warm_up=False,
        )
        results = {server.name: result(server, cells) for server in serving}
    forecasts = {
        server.name: Forecasts(costs[server.name, 30].cpu_us, costs[server.name, 1].cpu_us)
        for server in modelled
    }
    harness.publish("serving", "Serving alone: a week of one series", results, ours=OURS)
    title = f"With a model, {MODEL_CONNECTIONS} connections"
    harness.publish("serving-models", title, forecasts, ours=OURS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
