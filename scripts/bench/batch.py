"""CPU per element of the scoring pipeline, compared with Beam alone and with a model call per element.

All read the same file of requests (one day of one series each) and run on Beam's DirectRunner, each in a
process of its own, in turn. "Identity" passes every element through one function to Beam's text sink: the
cost of Beam itself. The last one calls LightGBM for every element, on fewer elements, since a call takes
milliseconds. The cost of the same pipeline on one element is subtracted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console

from scripts.bench import report
from scripts.paths import ROOT, VENVS

PYTHON: Final = VENVS / "batch" / "bin" / "python"
MEBIBYTE: Final = 2**20
OURS: Final = "services.batch.score"
IDENTITY: Final = "Beam, identity"
EACH: Final = "Beam, a model call per element"

_PEERS: Final = """\
import datetime, json, sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

kind, source, target = sys.argv[1:]

class Call(beam.DoFn):
    def setup(self):
        import numpy as np
        from services.forecasting.models import GradientBoosting
        from services.forecasting.panel import Panel
        sales = np.random.default_rng(1).poisson(9.0, (1, 200)).astype(float)
        self.panel = Panel(datetime.date(2024, 1, 1), ("1",), ("BREAD",), sales, None)
        self.model = GradientBoosting().fit(self.panel)

    def process(self, element):
        yield json.dumps({**json.loads(element), "sales": float(self.model.predict(self.panel, 1)[0, 0])})

# DirectRunner chooses this runner for services.batch.score, too.
options = PipelineOptions(["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"])
with beam.Pipeline(options=options) as pipeline:
    lines = pipeline | beam.io.ReadFromText(source)
    step = beam.Map(lambda each: each) if kind == "identity" else beam.ParDo(Call())
    lines | step | beam.io.WriteToText(target)
"""

# The pipeline with a model from memory instead of the registry: it needs no server.
_OURS: Final = """\
import datetime, sys
import numpy as np
from services.batch import score, scoring
from services.forecasting.forecast import Forecast

source, target = sys.argv[1:]
stores = tuple(f"{number:03d}" for number in range(1000))
sales = np.random.default_rng(1).gamma(2.0, 10.0, (len(stores), 60)).round(3)
days = tuple(datetime.date(2024, 1, 1) + datetime.timedelta(days=day) for day in range(60))
forecast = Forecast("bench", days, stores, ("BREAD",) * len(stores), sales, sales / 2, sales * 2)
scoring.ModelSource.current = lambda self: "bench"
scoring.ModelSource.load = lambda self, version: scoring.ScoreLines(forecast, self.first, self.days)
sys.exit(score.main([
    f"--input={source}", f"--output={target}", "--model_bucket=none", "--model_project=none",
    "--run_date=2024-01-01", "--horizon=1", "--runner=DirectRunner", "--no_auth",
]))
"""


def measure(program: str, *arguments: str) -> tuple[float, float]:
    """Run a program; returns CPU seconds and peak resident memory in MiB.

    Raises:
        RuntimeError: it failed; carries the end of what it printed.
    """
    command = [PYTHON, "-c", program, *arguments]
    with tempfile.TemporaryFile() as out:
        process = psutil.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            out.seek(0)
            raise RuntimeError(out.read().decode()[-2000:])
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MEBIBYTE


def write_requests(file: Path, count: int) -> None:
    """One request per line, for a thousand series in turn."""
    with file.open("w") as out:
        for number in range(count):
            out.write(json.dumps({"store_nbr": f"{number % 1000:03d}", "family": "BREAD"}) + "\n")


def run(name: str, folder: Path, count: int) -> tuple[float, float]:
    """One run on `count` requests; see `measure`."""
    source, target = folder / f"{count}.json", str(folder / f"out-{name}-{count}")
    write_requests(source, count)
    if name == OURS:
        return measure(_OURS, str(source), target)
    return measure(_PEERS, "identity" if name == IDENTITY else "each", str(source), target)


def main() -> int:
    """Measure, print the table, write the result; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make bench-batch", description=__doc__)
    parser.add_argument("--elements", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=500, help="elements for the model called on each")
    options = parser.parse_args()
    costs: dict[str, float] = {}
    peaks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, count in ((IDENTITY, options.elements), (OURS, options.elements), (EACH, options.calls)):
            start, _ = run(name, folder, 1)
            cpu, peak = run(name, folder, count)
            costs[name] = (cpu - start) / (count - 1) * 1e6
            peaks[name] = [peak]
        for name in (IDENTITY, OURS):
            peaks[name].append(run(name, folder, 4 * options.elements)[1])
    headings = ("CPU us per element", "ratio", "peak MiB", f"peak MiB, {4 * options.elements:,}")
    table = report.table(f"Scoring, {options.elements:,} elements", *headings)
    for name, cost in costs.items():
        peak = [f"{each:,.0f}" for each in peaks[name]] + [""]
        table.add_row(name, f"{cost:,.1f}", f"{cost / costs[OURS]:.2f}", *peak[:2])
    Console().print(table)
    own = costs.pop(OURS)
    report.write(
        "batch",
        "CPU microseconds per element",
        ours={"cpu_us": own, "peak_mib": peaks[OURS]},
        peers=costs,
        ratios={name: cost / own for name, cost in costs.items()},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
