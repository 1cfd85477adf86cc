"""CPU time per request of this service, and of others that serve the same forecast.

CPU time is that of all processes of a server, divided by the requests answered; unlike elapsed time, it does
not depend on how busy the machine is. Servers run on core 0, the load generator on core 1. Measured are the
cost of serving alone (peers answer with a constant; our service does its usual work), and the cost of a
forecast of N days when a request calls the model N times, compared with precomputed responses.
"""

import contextlib
import functools
import urllib.parse
from typing import Final

from scripts.bench import harness, servers
from scripts.command import command
from scripts.own_emulators import own_emulators

_UNOBSERVED: Final = "scripts.bench.peers.ours_unobserved"
CONNECTIONS: Final = (1, 16, 64)
DAYS: Final = {30: "cpu_us_30_days", 1: "cpu_us_1_day"}
ROUNDS: Final = 3
SECONDS: Final = 2
"""Of each cell and round."""
MODEL_CONNECTIONS: Final = 4
"""Few: requests that are not answered when the time is up cost CPU and are not counted."""


def measure(server: servers.Server, connections: int, days: int, seconds: int) -> harness.Figures:
    """Send requests to a server from core 1."""
    body = server.body and server.body.replace("{days}", str(days))
    before = harness.cpu_seconds(server.process)
    load = servers.load(server.url + server.path.format(days=days), connections, seconds, body)
    used = harness.cpu_seconds(server.process) - before
    cpu_us, rps = used / load["requests"] * 1e6, load["requests"] / load["seconds"]
    return {"cpu_us": cpu_us, "rps": rps, "p50_ms": load["p50_ms"], "p99_ms": load["p99_ms"]}


@command("bench-serving")
def main() -> int:
    """Measure, print and write the result."""
    servers.prepare("nginx")
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_emulators())
        forecast = servers.publish_default_model().forecast
        query = urllib.parse.urlencode({"store_nbr": forecast.store_nbr[0], "family": forecast.family[0]})

        def up(*started: servers.Server) -> list[servers.Server]:
            return [stack.enter_context(server.running()) for server in started]

        ours = up(servers.our_server(servers.MODELS, query))
        serving = up(servers.nginx()) + ours
        serving += up(servers.our_server(servers.MODELS, query, "- without log and metrics", _UNOBSERVED))
        serving += up(*servers.peers(model=False))
        modelled = ours + up(*servers.peers(model=True))
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
            server.name: {
                **cells[server.name, 64],
                "cpu_us_at_16": cells[server.name, 16]["cpu_us"],
                "cpu_us_at_1": cells[server.name, 1]["cpu_us"],
                "pss_mib": harness.pss_mib(server.process),
                **server.ready_figures,
            }
            for server in serving
        }
    forecasts = {
        server.name: {name: costs[server.name, days]["cpu_us"] for days, name in DAYS.items()}
        for server in modelled
    }
    harness.publish("serving", "Serving alone: a week of one series", results, ours=servers.OURS)
    title = f"With a model, {MODEL_CONNECTIONS} connections"
    harness.publish("serving-models", title, forecasts, ours=servers.OURS)
    return 0
