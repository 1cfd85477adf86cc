"""Latency of small requests while large ones run, at 30,490 series, as many as the M5 competition has.

The service runs on core 0, the load generators on core 1. One connection sends the small requests, one after
the other, while others ask for every series again and again. The longest latency of `/healthz` is how long
the event loop was held at most.
"""

import contextlib
import dataclasses
import functools
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from google.cloud import storage

from scripts.bench import harness, model, wrk
from scripts.bench.servers import WORK, our_servers
from scripts.command import command, command_parser
from scripts.own_emulators import own_emulators
from services.forecasting import artifact
from services.forecasting.forecast import History
from services.forecasting.model_registry import ModelRegistry

SERIES: Final = 30_490
BUCKET: Final = "large-models"
ALONE: Final = "nothing else"
LARGE: Final = {
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


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of small requests, in milliseconds."""

    p50_ms: float
    p99_ms: float
    longest_ms: float


def publish() -> None:
    """Publish a model of that many series, which repeat those of the default model."""
    small = model.publish()
    registry = ModelRegistry(model.BUCKET, model.PROJECT)
    manifest = registry.manifest(small.version)
    keys = sorted((f"S{number % 10}", f"P{number // 10:05}") for number in range(SERIES))
    stores, families = zip(*keys, strict=True)
    rows = np.arange(SERIES) % len(small.sales)
    forecast = dataclasses.replace(
        small,
        version="large",
        store_nbr=stores,
        family=families,
        sales=small.sales[rows],
        lower=small.lower[rows],
        upper=small.upper[rows],
        sums={},
    )
    past = registry.load(small.version).history
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "large")
        more = msgspec.structs.replace(manifest, version="large", series=SERIES)
        artifact.save(folder, more, forecast, History(past.dates, past.sales[rows]), {})
        storage.Client(project=model.PROJECT).create_bucket(BUCKET)
        large = ModelRegistry(BUCKET, model.PROJECT)
        large.upload(folder)
        large.publish("large")


@contextlib.contextmanager
def sending(url: str | None) -> Generator[None]:
    """Ask for something large meanwhile."""
    if url is None:
        yield
        return
    script = WORK / "large.lua"
    script.write_text(_LARGE_SCRIPT)
    words = [*wrk.command(url, _LARGE_CONNECTIONS, 2 * _SECONDS + 10), "--script", str(script)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def measure(small: str, large: str | None) -> Latency:
    """Latency of a small request while something large is sent."""
    with sending(large):
        load = wrk.run(small, 1, _SECONDS)
    return Latency(load.p50_ms, load.p99_ms, load.longest_ms)


@command("bench-load")
def main() -> int:
    """Measure, print and write the result."""
    command_parser(__doc__).parse_args()
    wrk.check()
    WORK.mkdir(parents=True, exist_ok=True)
    with own_emulators():
        publish()
        server = our_servers({"MODEL_BUCKET": BUCKET, "HOST": "127.0.0.1"}, "store_nbr=S0&family=P00000")[0]
        try:
            server.start()
            url = f"http://127.0.0.1:{server.port}"
            for name, path in ("healthz", "/healthz"), ("one-series", server.path.format(days=7)):
                loads = {ALONE: None} | {load: url + large for load, large in LARGE.items()}
                measures = {
                    load: functools.partial(measure, url + path, large) for load, large in loads.items()
                }
                medians = harness.interleave(measures, 3, warm_up=True)
                title = f"{path} at {SERIES:,} series, while {_LARGE_CONNECTIONS} connections ask for"
                peak = server.status_mib("VmHWM")
                harness.publish(f"load-{name}", title, medians, ours=ALONE, peak_mib=peak)
                print(f"memory at most {peak:,.0f} MiB")
        finally:
            server.stop()
    return 0
