"""Latency of small requests while large ones run, at 30,490 series, as many as the M5 competition has.

One connection sends the small requests, one after the other, while others ask for every series again and
again. The longest latency of `/healthz` is how long the event loop was held at most.
"""

import contextlib
import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from scripts.bench import harness, servers
from scripts.command import command
from scripts.own_emulators import own_emulators, publish_model
from services.forecasting import artifact
from services.forecasting.forecast import History

SERIES: Final = 30_490
BUCKET: Final = "large-models"
ALONE: Final = "nothing else"
LOADS: Final = {
    ALONE: "",
    "a day of all series": "/predict?range=1",
    "60 days of all series": "/predict?range=60",
    "the same in CSV": "/predict?range=60&format=csv",
    "60 days, summed": "/predict?range=60&layout=sum",
    "180 days of history, CSV": "/history?format=csv",
    "the same, summed": "/history?layout=sum",
}
# All ten stores, and the digits of a number: no two requests are alike, or the cache would answer.
_LARGE_SCRIPT: Final = """
local number = 0
request = function()
  number = number + 1
  local stores = ("0123456789" .. number):gsub("%d", "&store_nbr=S%0")
  return wrk.format("GET", wrk.path .. stores)
end
"""
_LARGE_CONNECTIONS: Final = 4
_SECONDS: Final = 4
"""Of each measurement."""


def publish() -> None:
    """Publish a model of that many series, which repeat those of the default model."""
    small = servers.publish_default_model()
    keys = sorted((f"S{number % 10}", f"P{number // 10:05}") for number in range(SERIES))
    stores, families = zip(*keys, strict=True)
    rows = np.arange(SERIES) % len(small.forecast.sales)
    tables = {name: getattr(small.forecast, name)[rows] for name in ("sales", "lower", "upper")}
    forecast = dataclasses.replace(
        small.forecast, version="large", store_nbr=stores, family=families, sums={}, **tables
    )
    manifest = msgspec.structs.replace(small.manifest, version="large", series=SERIES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "large")
        history = History(small.history.dates, small.history.sales[rows])
        artifact.save(folder, manifest, forecast, history, {})
        publish_model(folder, BUCKET)


def measure(url: str, small: str, large: str) -> harness.Figures:
    """Latency of a small request, in milliseconds, while `large` is asked for, unless that is empty."""
    with contextlib.ExitStack() as stack:
        if large:
            seconds = 2 * _SECONDS + 10
            sending = servers.start_load(url + large, _LARGE_CONNECTIONS, seconds, _LARGE_SCRIPT)
            stack.enter_context(sending)
            stack.callback(sending.terminate)
        figures = servers.load(url + small, 1, _SECONDS)
    return {name: figures[name] for name in ("p50_ms", "p99_ms", "longest_ms")}


@command("bench-load")
def main() -> int:
    """Measure, print and write the result."""
    servers.prepare()
    with own_emulators():
        publish()
        with servers.our_server(BUCKET, "store_nbr=S0&family=P00000").running() as server:
            for name, path in ("healthz", "/healthz"), ("one-series", server.path.format(days=7)):
                measures = {load: functools.partial(measure, server.url, path, LOADS[load]) for load in LOADS}
                medians = harness.interleave(measures, 3, warm_up=True)
                title = f"{path} at {SERIES:,} series, while {_LARGE_CONNECTIONS} connections ask for"
                peak = harness.peak_mib(server.process)
                harness.publish(f"load-{name}", title, medians, ours=ALONE, peak_mib=peak)
                print(f"memory at most {peak:,.0f} MiB")
    return 0
