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
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Generator
from typing import Final
from unittest import mock

from rich.console import Console

from infra.simulator import emulators
from scripts.bench import model, report
from scripts.bench.servers import OURS, WORK, Server, floor, our_servers, peers
from scripts.paths import VENVS

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


@contextlib.contextmanager
def registry() -> Generator[tuple[dict[str, str], str]]:
    """A published model in a storage emulator.

    Yields:
        Environment variables of a service that serves it, and a query for its first series.
    """
    program = next((VENVS / "simulator").glob("lib/*/site-packages/*/vendor/*/bin/*"))
    port = emulators.free_ports(("port",))["port"]
    url = f"http://127.0.0.1:{port}"
    command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-external-url", url, "-public-host", f"127.0.0.1:{port}"]
    with (WORK / "bucket.log").open("wb") as log:
        emulator = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": url}):
            forecast = model.publish()
        series = {"store_nbr": forecast.store_nbr[0], "family": forecast.family[0]}
        environment = {"STORAGE_EMULATOR_HOST": url, "MODEL_BUCKET": model.BUCKET, "HOST": "127.0.0.1"}
        yield environment, urllib.parse.urlencode(series)
    finally:
        emulator.kill()
        emulator.wait()


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
        environment, series = stack.enter_context(registry())

        def up(servers: list[Server]) -> list[Server]:
            for server in servers:
                stack.callback(server.stop)
                server.start()
            return servers

        mine = up(our_servers(environment, series))
        serving = up([floor()])[:1] + mine + up(peers(model=False))
        modelled = [mine[0], *up(peers(model=True))]
        cells: dict[tuple[str, int], list[Cell]] = {}
        costs: dict[tuple[str, int], list[Cell]] = {}
        for round_ in range(options.rounds):
            for connections in CONNECTIONS:
                for server in serving:
                    if not round_:
                        measure(server, connections, 7, 1)  # warms up
                    cell = measure(server, connections, 7, options.seconds)
                    cells.setdefault((server.name, connections), []).append(cell)
            for days in DAYS:
                for server in modelled:
                    costs.setdefault((server.name, days), []).append(
                        measure(server, MODEL_CONNECTIONS, days, options.seconds + 1)
                    )
        memory = {server.name: server.pss_mib() for server in serving}
    medians = {key: report.median(each) for key, each in cells.items()}
    median_costs = {key: report.median(each) for key, each in costs.items()}
    print_serving(serving, medians, memory)
    print_models(median_costs)
    write(serving, medians, median_costs, memory)
    return 0


def print_serving(
    servers: list[Server], cells: dict[tuple[str, int], Cell], memory: dict[str, float]
) -> None:
    """Print the cost of serving alone."""
    cpu = (f"CPU us at {each}" for each in CONNECTIONS)
    rest = ("ratio at 64", "requests/s", "p50 ms", "p99 ms", "PSS MiB", "ready in s", "CPU s")
    table = report.table("Serving alone: a week of one series", *cpu, *rest)
    for server in servers:
        most = cells[server.name, CONNECTIONS[-1]]
        table.add_row(
            server.name,
            *(f"{cells[server.name, each].cpu_us:.1f}" for each in CONNECTIONS),
            f"{most.cpu_us / cells[OURS, CONNECTIONS[-1]].cpu_us:.2f}",
            f"{most.rps:,.0f}",
            f"{most.p50_ms:.2f}",
            f"{most.p99_ms:.2f}",
            f"{memory[server.name]:.1f}",
            f"{server.ready_seconds:.2f}",
            f"{server.ready_cpu_seconds:.2f}",
        )
    Console(width=140).print(table)


def print_models(costs: dict[tuple[str, int], Cell]) -> None:
    """Print the cost of a forecast."""
    title = f"With a model, {MODEL_CONNECTIONS} connections: CPU us per request"
    table = report.table(title, *(f"N = {days}" for days in DAYS), "ratio")
    for name in dict.fromkeys(name for name, _ in costs):
        last = costs[name, DAYS[-1]].cpu_us
        ratio = last / costs[OURS, DAYS[-1]].cpu_us
        table.add_row(name, *(f"{costs[name, days].cpu_us:,.1f}" for days in DAYS), f"{ratio:,.0f}")
    Console(width=140).print(table)


def write(
    servers: list[Server],
    cells: dict[tuple[str, int], Cell],
    costs: dict[tuple[str, int], Cell],
    memory: dict[str, float],
) -> None:
    """Write the result as JSON."""
    most = CONNECTIONS[-1]
    results = {
        server.name: {
            **{f"connections_{each}": dataclasses.asdict(cells[server.name, each]) for each in CONNECTIONS},
            **{
                f"model_days_{days}_cpu_us": costs[server.name, days].cpu_us
                for days in DAYS
                if (server.name, days) in costs
            },
            "pss_mib": memory[server.name],
            "ready_seconds": server.ready_seconds,
            "ready_cpu_seconds": server.ready_cpu_seconds,
        }
        for server in servers
    }
    mine = cells[OURS, most].cpu_us
    longest = DAYS[-1]
    modelled = {
        f"{name}, model, {days} days": cost.cpu_us / costs[OURS, days].cpu_us
        for (name, days), cost in costs.items()
        if days == longest and name != OURS
    }
    report.write(
        "serving",
        f"CPU microseconds per request, serving alone, {most} connections",
        ours=results.pop(OURS),
        peers=results,
        ratios={name: cells[name, most].cpu_us / mine for name in results} | modelled,
    )


if __name__ == "__main__":
    sys.exit(main())
