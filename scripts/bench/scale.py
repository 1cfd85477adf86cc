"""Training and serving of panels of thousands of series: CPU, memory, and how they grow with the series.

The sales are synthetic: 730 days, levels of a few a month to hundreds a day, a week and a year, shops that
open late. Each step is a process of its own. Memory is the peak of resident memory; that of a reload counts
the time at which the service has both versions.
"""

import json
import os
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.cloud import storage

from scripts.bench import harness
from scripts.bench.model import PROJECT
from scripts.bench.servers import WORK, Server, our_servers
from scripts.command import command, command_parser
from scripts.own_emulators import own_emulators
from scripts.paths import VENVS
from services.contracts.model import MANIFEST_FILE
from services.contracts.names import MODELS_PATH
from services.forecasting.model_registry import ModelRegistry

SERIES: Final = (3_000, 30_490)
"""The latter are those of the M5 competition."""

TRAIN: Final = """\
import datetime, sys
from pathlib import Path
import numpy as np
import services.batch  # bounds threads, as in the command
from services.forecasting import training
from services.forecasting.panel import Panel

count, folder = int(sys.argv[1]), Path(sys.argv[2])
days, stores = 730, 10
random = np.random.default_rng(1)
keys = sorted((f"S{number % stores:02d}", f"P{number // stores:05d}") for number in range(count))
level = random.lognormal(0.0, 1.5, count)
day = np.arange(days)
week = 1 + 0.3 * np.sin(2 * np.pi * day / 7)
year = 1 + 0.2 * np.sin(2 * np.pi * day / 365.25)
sales = np.empty((count, days))
for at in range(0, count, 1000):
    sales[at : at + 1000] = random.poisson(level[at : at + 1000, None] * week * year)
begin = np.where(random.random(count) < 0.1, random.integers(0, days // 2, count), 0)
sales[day < begin[:, None]] = np.nan
panel = Panel(datetime.date(2022, 1, 1), tuple(k[0] for k in keys), tuple(k[1] for k in keys), sales, None)
del sales
training.train(panel, folder)
"""


@dataclass(frozen=True)
class Scale:
    """Costs of training, size of what came out, costs of serving it."""

    cpu_seconds: float
    elapsed_seconds: float
    peak_mib: float
    artifact_mib: float
    ready_seconds: float
    ready_cpu_seconds: float
    served_mib: float
    reload_peak_mib: float


def train(series: int, folder: Path) -> harness.Usage:
    """Train a version of so many series."""
    python = str(VENVS / "batch" / "bin" / "python")
    return harness.measure((python, "-c", TRAIN, str(series), str(folder)), dict(os.environ))


def second_version(folder: Path) -> Path:
    """The same tables under another name: what a reload replaces them with."""
    other = folder.with_name(f"{folder.name}-2")
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    manifest["version"] += "-2"
    (other / MANIFEST_FILE).write_text(json.dumps(manifest))
    return other


def serve(folder: Path) -> tuple[float, float, float, float]:
    """Serve a version, then publish another: seconds to ready, of CPU, memory with one version, its peak."""
    bucket = f"models-{folder.name}"
    storage.Client(project=PROJECT).create_bucket(bucket)
    registry = ModelRegistry(bucket, PROJECT)
    registry.publish(registry.upload(folder).version)
    later = registry.upload(second_version(folder)).version
    server = our_servers({"MODEL_BUCKET": bucket, "HOST": "127.0.0.1", "MODEL_POLL_SECONDS": "1"}, "")[0]
    try:
        server.start()
        resident = server.status_mib("VmRSS")
        registry.publish(later)
        while _version(server) != later:
            time.sleep(0.1)
        return server.ready_seconds, server.ready_cpu_seconds, resident, server.status_mib("VmHWM")
    finally:
        server.stop()


def _version(server: Server) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{MODELS_PATH}", timeout=30) as response:
        return json.load(response)["current"]["version"]


@command("bench-scale")
def main() -> int:
    """Measure, print the table, write the result; returns the exit status."""
    command_parser(__doc__).parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    results: dict[str, Scale] = {}
    with tempfile.TemporaryDirectory() as temporary, own_emulators():
        for series in SERIES:
            folder = Path(temporary, str(series))
            training = train(series, folder)
            size = sum(file.stat().st_size for file in folder.iterdir()) / harness.MEBIBYTE
            costs = training.cpu_seconds, training.elapsed_seconds, training.peak_mib
            results[f"{series:,} series"] = Scale(*costs, size, *serve(folder))
    largest = next(reversed(results))
    harness.publish("scale", "Training and serving", results, ours=largest)
    return 0
