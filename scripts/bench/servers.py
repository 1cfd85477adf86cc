"""The servers that the serving benchmark compares: ours, nginx with a constant, and other frameworks."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from infra.simulator import emulators
from scripts.bench import harness
from scripts.paths import BENCH, ROOT, VENVS

PEERS: Final = ROOT / "scripts" / "bench" / "peers"
WORK: Final = BENCH / "serving"

OURS: Final = "this service"
UNOBSERVED: Final = "- without log and metrics"
FLOOR: Final = "nginx, a constant"

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
        name: as shown.
        command: program and arguments.
        port: on loopback.
        path: of the request; `{days}` stands for the number of days.
        body: of a POST, likewise; None for GET.
        ready: path that answers 200 once the server is ready.
        environment: additional variables.
    """

    name: str
    command: Sequence[str]
    port: int
    path: str
    _: dataclasses.KW_ONLY
    body: str | None = None
    ready: str = "/readyz"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    process: psutil.Popen | None = None
    ready_seconds: float = 0.0
    ready_cpu_seconds: float = 0.0

    def start(self) -> None:
        """Start it on core 0, wait until it is ready, and record how long that took.

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
        """Kill it and its child processes."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait()

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def pss_mib(self) -> float:
        """Memory of all its processes, with a share of each shared page."""
        return sum(process.memory_full_info().pss for process in self._processes()) / 2**20

    def status_mib(self, name: str) -> float:
        """A figure of /proc/PID/status: `VmRSS`, memory now, or `VmHWM`, at most so far."""
        assert self.process is not None  # noqa: S101 -- it was started
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None, status  # noqa: S101 -- Linux always says so
        return int(found[1]) / 1024

    def _processes(self) -> list[psutil.Process]:
        if self.process is None or not self.process.is_running():
            return []
        return [self.process, *self.process.children(recursive=True)]


def our_servers(environment: Mapping[str, str], series: str) -> list[Server]:
    """Our service as it is, and without log and metrics; requests are for one series, as for the peers."""
    python = str(VENVS / "prediction" / "bin" / "python")
    path = f"/predict?range={{days}}&{series}"
    servers: list[Server] = []
    modules = {OURS: "services.prediction", UNOBSERVED: "scripts.bench.peers.ours_unobserved"}
    for name, port in emulators.free_ports(tuple(modules)).items():
        variables = {**environment, "PORT": str(port)}
        servers.append(Server(name, [python, "-m", modules[name]], port, path, environment=variables))
    return servers


def floor() -> Server:
    """Nginx with a constant as long as our response for a week."""
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
    return Server(FLOOR, ["nginx", "-p", str(WORK), "-c", str(configuration)], port, "/", ready="/")


def peers(*, model: bool) -> list[Server]:
    """The other servers, with a model or with a constant response."""
    variables = {"PYTHONPATH": str(PEERS), "PYTHONWARNINGS": "ignore"}
    if model:
        variables["BENCH_MODEL"] = "1"
    web, mlserver, kserve = (harness.peer_python(*each) for each in PINS.items())

    def peer(
        name: str, port: int, command: Sequence[str], path: str, ready: str, body: str | None = None
    ) -> Server:
        return Server(name, command, port, path, body=body, ready=ready, environment=variables)

    names = ("flask", "fastapi", "mlserver", "mlserver grpc", "mlserver metrics", "kserve")
    flask, fastapi, ml, grpc, metrics, kserve_port = emulators.free_ports(names).values()
    folder = WORK / f"mlserver-{ml}"
    folder.mkdir()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": ml,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "logging_settings": None,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    runtime = {"name": "sales", "implementation": "mlserver_runtime.Sales"}
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    tensor = '{"inputs": [{"name": "range", "shape": [1], "datatype": "INT64", "data": [{days}]}]}'
    gunicorn = ["-m", "gunicorn", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "75"]
    uvicorn = ["-m", "uvicorn", "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    week, day = "/predict?range={days}", "/predict?range=1"
    return [
        peer(
            "Flask, gunicorn gthread",
            flask,
            [web, *gunicorn, "--bind", f"127.0.0.1:{flask}", "flask_app:app"],
            week,
            day,
        ),
        peer(
            "FastAPI, uvicorn", fastapi, [web, *uvicorn, "--port", str(fastapi), "fastapi_app:app"], week, day
        ),
        peer(
            "MLServer",
            ml,
            [mlserver, "-m", "mlserver.cli.main", "start", str(folder)],
            "/v2/models/sales/infer",
            "/v2/models/sales/ready",
            tensor,
        ),
        peer(
            "KServe",
            kserve_port,
            [kserve, str(PEERS / "kserve_app.py"), "--http_port", str(kserve_port)],
            "/v1/models/sales:predict",
            "/v2/health/ready",
            '{"instances": [{"range": {days}}]}',
        ),
    ]
