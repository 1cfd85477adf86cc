"""The servers under test (ours, nginx with a constant, other frameworks), the default model, and the load."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final, Self

import httpx
import psutil

from infra.simulator import emulators
from scripts.bench import harness
from scripts.command import CommandError, running
from scripts.laptop.install import unless_current
from scripts.own_emulators import publish_model
from scripts.paths import BENCH, ROOT, VENVS
from services.batch import ingest
from services.forecasting import artifact, training
from services.forecasting.artifact import Model
from services.forecasting.panel import Panel

PEERS: Final = ROOT / "scripts" / "bench" / "peers"
WORK: Final = BENCH / "serving"
MODELS: Final = "models"
"""The bucket that `publish_default_model` fills."""
_READY_SECONDS: Final = 120

OURS: Final = "this service"
_WEEK: Final = "/predict?range={days}"
_DAY: Final = "/predict?range=1"

PINS: Final = {
    "web": (
        "fastapi==0.165.0", "flask==3.1.3", "gunicorn==27.0.1", "httptools==0.9.0", "scikit-learn==1.9.1",
        "uvicorn==0.54.0", "uvloop==0.23.0",
    ),
    "mlserver": ("mlserver==1.7.1", "scikit-learn==1.9.1"),
    "kserve": ("kserve==0.21.0", "scikit-learn==1.9.1"),
}  # fmt: skip


def publish_default_model() -> Model:
    """Publish a model of the default data set, which is trained once per version of the code."""
    folder = BENCH / f"model-{training.code_version()[:12]}"
    if not (folder / "manifest.json").exists():
        training.train(Panel.from_frame(ingest.read(None).frame), folder)
    publish_model(folder, MODELS)
    return artifact.load_model(*artifact.read(folder))


@dataclasses.dataclass
class Server:
    """A server under test."""

    name: str
    command: Sequence[str]
    port: int
    path: str  # of the request; `{days}` stands for the number of days
    ready: str = "/readyz"  # answers 200 once the server is ready
    body: str | None = None  # of a POST, with `{days}`, too; None for GET
    variables: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    process: psutil.Process = dataclasses.field(init=False)  # while it runs
    ready_figures: harness.Figures = dataclasses.field(init=False)  # what it took until it was ready

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Generator[Self]:
        """Run it on core 0, from when it is ready until the block ends; CommandError if it is not in time."""
        log = WORK / f"{re.sub('[^a-z]+', '-', self.name.lower())}-{self.port}.log"
        begun = time.monotonic()
        words = ("taskset", "--cpu-list", "0", *self.command)
        with running(*words, log=log, variables=self.variables, ending=signal.SIGKILL) as process:
            while not _answers(self.url + self.ready):
                if process.poll() is not None or time.monotonic() > begun + _READY_SECONDS:
                    raise CommandError(f"{self.name} is not ready; look at {log}")
                time.sleep(0.01)
            self.process = process
            self.ready_figures = {
                "ready_seconds": time.monotonic() - begun,
                "ready_cpu_seconds": harness.cpu_seconds(process),
            }
            yield self


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=1).is_success
    return False


def our_server(
    bucket: str, query: str, name: str = OURS, module: str = "services.prediction", **variables: str
) -> Server:
    """Our service with the model that a bucket has; the query selects one series, as peers have."""
    port = emulators.free_port()
    command = [str(VENVS / "prediction" / "bin" / "python"), "-m", module]
    variables |= {"MODEL_BUCKET": bucket, "HOST": "127.0.0.1", "PORT": str(port)}
    return Server(name, command, port, f"/predict?range={{days}}&{query}", variables=variables)


def nginx() -> Server:
    """A constant as long as our response for a week."""
    port = emulators.free_port()
    configuration = WORK / "nginx.conf"
    configuration.write_text(
        f"""
daemon off; master_process off; pid {WORK}/nginx.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{"x" * 800}'; }}
  }}
}}
"""
    )
    command = ["nginx", "-p", str(WORK), "-c", str(configuration)]
    return Server("nginx, a constant", command, port, "/", ready="/")


def peers(*, model: bool) -> list[Server]:
    """The other servers, with a model or with a constant response."""
    web, mlserver, kserve = (_python(*each) for each in PINS.items())
    names = ("flask", "fastapi", "mlserver", "mlserver grpc", "mlserver metrics", "kserve")
    flask, fastapi, ml, grpc, metrics, ks = emulators.free_ports(names).values()
    folder = WORK / f"mlserver-{ml}"
    folder.mkdir()
    settings = {"debug": False, "host": "127.0.0.1", "parallel_workers": 0, "logging_settings": None}
    settings |= {"http_port": ml, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps(settings))
    runtime = {"name": "sales", "implementation": "mlserver_runtime.Sales"}
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    gthread = ("--worker-class=gthread", "--threads=4", "--keep-alive=75", f"--bind=127.0.0.1:{flask}")
    gunicorn = [web, "-m", "gunicorn", *gthread, "flask_app:app"]
    options = ("--no-access-log", "--loop=uvloop", "--http=httptools", f"--port={fastapi}")
    uvicorn = [web, "-m", "uvicorn", *options, "fastapi_app:app"]
    ml_command = [mlserver, "-m", "mlserver.cli.main", "start", str(folder)]
    tensor = '{"inputs": [{"name": "range", "shape": [1], "datatype": "INT64", "data": [{days}]}]}'
    ks_command = [kserve, str(PEERS / "kserve_app.py"), f"--http_port={ks}"]
    instances = '{"instances": [{"range": {days}}]}'
    servers = [
        Server("Flask, gunicorn gthread", gunicorn, flask, _WEEK, _DAY),
        Server("FastAPI, uvicorn", uvicorn, fastapi, _WEEK, _DAY),
        Server("MLServer", ml_command, ml, "/v2/models/sales/infer", "/v2/models/sales/ready", tensor),
        Server("KServe", ks_command, ks, "/v1/models/sales:predict", "/v2/health/ready", instances),
    ]
    for server in servers:
        server.variables = {"PYTHONPATH": str(PEERS), "PYTHONWARNINGS": "ignore"}
        server.variables |= {"BENCH_MODEL": "1"} if model else {}
    return servers


def _python(name: str, pins: Sequence[str]) -> str:
    """The interpreter of a virtual environment with a peer's packages, which is made on first use."""
    folder = VENVS / "peers-serving" / name
    python = folder / "bin" / "python"
    uv = VENVS / "tools" / "bin" / "uv"
    venv = (uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder)
    pip = (uv, "pip", "install", "--quiet", "--python", python, *pins)
    unless_current(folder / "stamp", [Path(__file__)], venv, pip)
    return str(python)


_REPORT: Final = """
done = function(summary, latency)
  local failed = 0
  for _, number in pairs(summary.errors) do failed = failed + number end
  io.write(string.format("@%d %d %f %f %f %f", failed, summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""
_POST: Final = """
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", %s, "application/json"
"""


def prepare(*programs: str) -> None:
    """Look for wrk and other programs that a benchmark of servers needs, and empty its folder."""
    needed = ("wrk", *programs)
    if not all(map(shutil.which, ("taskset", *needed))) or (os.cpu_count() or 1) < 2:
        raise CommandError(f"needs two cores, and {' and '.join(needed)}: see scripts/debian_packages.sh")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)


def start_load(url: str, connections: int, seconds: int, script: str) -> subprocess.Popen[str]:
    """Start wrk on core 1: it sends requests on a number of connections, as a script in Lua says."""
    file = WORK / f"wrk-{connections}.lua"
    file.write_text(script)
    wrk = ("wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s")
    words = ("taskset", "--cpu-list", "1", *wrk, "--latency", f"--script={file}", url)
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def load(url: str, connections: int, seconds: int, body: str | None = None) -> harness.Figures:
    """Send requests, POST if there is a body: their number, seconds, percentiles of latency in ms.

    Raises:
        CommandError: an answer was not a success.
    """
    post = _POST % json.dumps(body) if body else ""
    with start_load(url, connections, seconds, _REPORT + post) as process:
        output, _ = process.communicate()
    failed, *figures = map(float, output.rpartition("@")[2].split())
    if failed or not figures[0]:
        raise CommandError(f"{connections} connections, {url}:\n{output}")
    return dict(zip(("requests", "seconds", "p50_ms", "p99_ms", "longest_ms"), figures, strict=True))
