"""CPU per element of the scoring pipeline, compared with Beam alone and with a model call per element.

All read the same file of requests (one day of one series each) and run on Beam's DirectRunner, each in a
process of its own, in turn. The cost of the same pipeline on one element is subtracted.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Final

from scripts.bench import harness
from scripts.command import command
from scripts.paths import VENVS

OURS: Final = "services.batch.score"
ELEMENTS: Final = 100_000
CALLS: Final = 500
"""Elements for the model that is called on each."""

_PEERS: Final = """\
import datetime, json, sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

kind, source, target = sys.argv[1:]

class Call(beam.DoFn):
    def setup(self):
        import numpy as np
        from services.forecasting import models
        from services.forecasting.features import Features
        from services.forecasting.panel import Panel
        sales = np.random.default_rng(1).poisson(9.0, (1, 200)).astype(float)
        self.panel = Panel(datetime.date(2024, 1, 1), ("1",), ("BREAD",), sales, None)
        self.model = models.fit(self.panel, Features(self.panel, 0))
        self.call = lambda: models.predict(self.model, self.panel, Features(self.panel, 1), 1)

    def process(self, element):
        yield json.dumps({**json.loads(element), "sales": float(self.call()[0, 0])})

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
scoring.ModelSource.check = lambda self, version: None
scoring.ModelSource.load = lambda self, version: scoring.ScoreLines(forecast, self.first, self.days)
sys.exit(score.main([
    f"--input={source}", f"--output={target}", "--model_bucket=none", "--model_project=none",
    "--run_date=2024-01-01", "--horizon=1", "--runner=DirectRunner", "--no_auth",
]))
"""

PROGRAMS: Final = {
    "Beam, identity": (_PEERS, "identity"),
    OURS: (_OURS,),
    "Beam, a model call per element": (_PEERS, "each"),
}


def run(name: str, folder: Path, count: int) -> harness.Figures:
    """One run on a file of requests, for a thousand series in turn."""
    source, target = folder / f"{count}.json", folder / f"out-{name}-{count}"
    with source.open("w") as out:
        for number in range(count):
            out.write(json.dumps({"store_nbr": f"{number % 1000:03d}", "family": "BREAD"}) + "\n")
    python, (program, *kind) = VENVS / "batch" / "bin" / "python", PROGRAMS[name]
    return harness.measure((python, "-c", program, *kind, source, target), os.environ)


@command("bench-batch")
def main() -> int:
    """Measure, print the table, write the result; returns the exit status."""
    results: dict[str, harness.Figures] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, (_, *kind) in PROGRAMS.items():
            count = CALLS if kind == ["each"] else ELEMENTS
            start, whole = run(name, folder, 1), run(name, folder, count)
            longer = whole if count == CALLS else run(name, folder, 10 * count)
            results[name] = {
                "cpu_us": (whole["cpu_seconds"] - start["cpu_seconds"]) / (count - 1) * 1e6,
                "peak_mib": whole["peak_mib"],
                "peak_mib_of_10_times": longer["peak_mib"],
            }
    harness.publish("batch", f"Scoring, {ELEMENTS:,} elements", results, ours=OURS)
    return 0
