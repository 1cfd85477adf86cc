"""Runs the containers of Deployments and Jobs as local processes.

Each container is one detached process, however many replicas its Deployment has: it listens on the ports of
this machine. It runs in the Python environment `build/venvs/<name of the image>`, in the repository's folder.
Its environment variables are those of its manifest, the addresses of the emulators and, if an issuer of
tokens runs, `OIDC_ISSUER`.

Resources and security contexts are not enforced, and no liveness probe is made. A container that ends is not
restarted: the next plan shows that it is gone, and an apply starts it again.
"""

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from infra.simulator import SimulatorError, emulators, issuer, processes, rest
from infra.simulator.home import VENVS, folder
from infra.simulator.processes import Process

KIND: Final = "container"
# A cluster waits ten minutes for a Deployment. A user at a laptop wants to know sooner; a minute is enough to
# import a service and load its model on a busy machine.
_MIN_READY_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 1.0  # after which a container without a probe counts as started
_ENVIRONMENT_FILE: Final = "infra/environments/local.tfvars"


@dataclass(frozen=True)
class Probe:
    """An HTTP probe: a cluster would retry until the allowance is over, and then give up."""

    path: str
    port: int
    timeout_seconds: float
    allowance_seconds: float

    def succeeds(self) -> bool:
        """Whether one request succeeds now."""
        address, timeout = f"{emulators.HOST}:{self.port}", self.timeout_seconds
        return rest.succeeds(address, self.path, success=range(200, 400), timeout=timeout)


@dataclass(frozen=True)
class Container:
    """The container of a Deployment or Job; it is ready once its probes have succeeded, one by one."""

    deployment: str  # or Job, as `<namespace>/<name>`
    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[int, ...]
    probes: tuple[Probe, ...]
    grace_seconds: float  # between SIGTERM and SIGKILL

    @property
    def venv(self) -> Path:
        """The Python environment of its image."""
        return VENVS / self.image.rpartition("/")[2].partition("@")[0].partition(":")[0]

    @property
    def process_name(self) -> str:
        """The name of its process."""
        return f"{KIND}.{self.deployment.replace('/', '.')}.{self.name}"


def runs(container: Container) -> bool:
    """Whether the container runs, became ready, and has the present addresses of the emulators."""
    process = processes.find(container.process_name)
    return process is not None and process.alive and process.labels == _labels(container, ready=True)


def never_ready(container: Container) -> bool:
    """Whether the container was started and did not become ready, as a pod that crashes again and again."""
    process = processes.find(container.process_name)
    return process is not None and process.labels == _labels(container, ready=False)


def start(container: Container) -> None:
    """Start the container after stopping what is left of its Deployment, and wait until it is ready.

    Raises:
        SimulatorError: a port is taken, the image is not installed, or the container does not become ready,
            and is left as it is.
    """
    _check_image(container)
    stop(container.deployment)
    for port in container.ports:
        if not emulators.is_free(port):
            raise SimulatorError(f"container {container.name}: {taken(container.name, port)}")
    try:
        process = _start(container)
        for probe in container.probes:
            seconds = max(_MIN_READY_SECONDS, probe.allowance_seconds)
            processes.wait_until(probe.succeeds, process, seconds=seconds)
        if not container.probes:
            time.sleep(_SETTLE_SECONDS)
            processes.wait_until(lambda: process.alive, process, seconds=_MIN_READY_SECONDS)
        processes.relabel(process, _labels(container, ready=True))
    except SimulatorError:
        raise
    except BaseException:
        stop(container.deployment)
        raise


def run(container: Container, *, tries: int, deadline_seconds: float | None, wait: bool) -> None:
    """Run a Job's container until it ends with status 0, in one time for all tries; without `wait`, start it.

    Raises:
        SimulatorError: the image is not installed, or no try succeeded in time.
    """
    _check_image(container)
    status = folder("tmp") / f"{container.process_name}.status"
    deadline = time.monotonic() + (deadline_seconds or math.inf)
    # A process that nobody waits for tells its status by a file.
    program = ("sh", "-c", '"$@"; echo $? > "$0"', str(status), *container.command)
    for left in reversed(range(tries)):
        status.unlink(missing_ok=True)
        process = _start(dataclasses.replace(container, command=program))
        if not wait:
            return
        try:
            seconds = deadline - time.monotonic()
            processes.wait_until(lambda process=process: not process.alive, process, seconds=seconds)
        except SimulatorError:
            stop(container.deployment)
            raise
        if status.exists() and int(status.read_text()) == 0:
            stop(container.deployment)
            return
        if not left:
            raise SimulatorError(f"it failed {tries} times. {process.tail()}")


def stop(deployment: str) -> None:
    """Stop the processes of a Deployment or Job: SIGTERM, then SIGKILL after the grace period."""
    processes.stop(
        process.name for process in processes.recorded() if process.labels.get("deployment") == deployment
    )


def _labels(container: Container, *, ready: bool) -> dict[str, str]:
    return {
        "deployment": container.deployment,
        "ready": str(ready),
        "emulators": " ".join(emulators.endpoints().environment.values()),
    }


def _check_image(container: Container) -> None:
    if not (container.venv / "bin" / "python").exists():
        problem = f"container {container.name}: no environment {container.venv} for image {container.image}"
        raise SimulatorError(f"{problem}; run `make install`, or correct the image's name")


def taken(name: str, port: int) -> str:
    """Says that the port of a service is taken, by whom, and what to do."""
    remedy = f"Stop that program, or give {name} another port in {_ENVIRONMENT_FILE}"
    return f"port {port} is taken{_holder(port)}. {remedy}"


def _holder(port: int) -> str:
    """The process that listens on a port, if this user may see it."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr
        if listens and listens.port == port and connection.pid:
            try:
                return f" by process {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())})"
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                return f" by process {connection.pid}"
    return ""


def _start(container: Container) -> Process:
    name = container.process_name
    shutil.rmtree(folder(f"tmp/{name}"))
    inherited = processes.base_environment()
    del inherited["SIMULATOR_HOME"]  # a pod knows nothing of the simulator
    environment = {
        **inherited,
        **container.environment,
        **emulators.endpoints().environment,
        **issuer.environment(),
        "PATH": f"{container.venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder(f"tmp/{name}")),
    }
    return processes.start(
        name,
        container.command,
        environment,
        grace_seconds=container.grace_seconds,
        labels=_labels(container, ready=False),
    )
