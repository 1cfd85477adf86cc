"""Training and serving of panels of thousands of series: CPU, memory, and how they grow with the series.

The sales are synthetic: 730 days, levels of a few a month to hundreds a day, a week and a year, shops that
open late. Each step is a process of its own. Memory is the peak of resident memory; that of a reload counts
the time at which the service has both versions.
"""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from scripts.bench import harness
from scripts.bench.servers import WORK, our_server
from scripts.command import command
from scripts.own_emulators import own_emulators, publish_model
from scripts.paths import VENVS
from services.contracts.model import MANIFEST_FILE
from services.contracts.names import MODELS_PATH

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


def train(series: int, folder: Path) -> harness.Figures:
    """Train a version of so many series."""
    python = VENVS / "batch" / "bin" / "python"
    cost = harness.measure((python, "-c", TRAIN, str(series), folder), os.environ)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {**cost, "artifact_mib": size / harness.MEBIBYTE}


def serve(folder: Path) -> harness.Figures:
    """Serve a version, then publish it under another name: time to ready, memory before that and at most."""
    bucket = f"models-{folder.name}"
    registry = publish_model(folder, bucket)
    later = shutil.copytree(folder, folder.with_name(f"{folder.name}-2"))
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    (later / MANIFEST_FILE).write_text(json.dumps(manifest | {"version": "later"}))
    registry.upload(later)
    with our_server(bucket, "", MODEL_POLL_SECONDS="1").running() as server:
        resident = server.process.memory_info().rss / harness.MEBIBYTE
        registry.publish("later")
        while httpx.get(server.url + MODELS_PATH, timeout=30).json()["current"]["version"] != "later":
            time.sleep(0.1)
        peak = harness.peak_mib(server.process)
    return {**server.ready_figures, "served_mib": resident, "reload_peak_mib": peak}


@command("bench-scale")
def main() -> int:
    """Measure, print the table, write the result; returns the exit status."""
    WORK.mkdir(parents=True, exist_ok=True)
    results: dict[str, harness.Figures] = {}
    with tempfile.TemporaryDirectory() as temporary, own_emulators():
        for series in SERIES:
            folder = Path(temporary, str(series))
            results[f"{series:,} series"] = {**train(series, folder), **serve(folder)}
    largest = next(reversed(results))
    harness.publish("scale", "Training and serving", results, ours=largest)
    return 0
