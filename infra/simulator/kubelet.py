"""Runs the containers of Deployments as local processes.

Each container is one detached process, however many replicas are asked for: its ports are those of this
machine. It runs in the Python environment `build/venvs/<image's name>`, in the repository's folder, with the
environment variables of its manifest, those by which Google's client libraries find the emulators, and, where
messages are pushed, `OIDC_ISSUER`, whose tokens come with them.

Unlike in a cluster, resources and security contexts are not enforced, the liveness probe is not asked, and a
container that ends is not restarted: the next plan shows that it is gone, and applying it starts it again.
It is stopped as in a cluster: its preStop hook, SIGTERM, what is left of the grace period, SIGKILL.
"""

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from infra.simulator import emulators, issuer, processes
from infra.simulator.emulators import Endpoints
from infra.simulator.home import REPOSITORY, VENVS, folder
from infra.simulator.processes import Process, ProcessError

KIND: Final = "container"
# A cluster gives a Deployment ten minutes. Somebody who waits at a laptop wants to know sooner, and a service
# that imports and loads its model on a busy machine is done well before.
_LEAST_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
# Without a probe, a container that is still there after this counts as started.
_SETTLE_SECONDS: Final = 1.0
_ENVIRONMENT_FILE: Final = "infra/environments/local.tfvars"


class KubeletError(Exception):
    """A pod cannot be run; the message says why and what to do."""


@dataclass(frozen=True)
class Probe:
    """An HTTP probe.

    Attributes:
        path: Path to get; 200..399 is success.
        port: Port of the container.
        headers: Request headers.
        timeout_seconds: For one answer.
        allowance_seconds: How long a cluster would try before it gives up.
    """

    path: str
    port: int
    headers: Mapping[str, str]
    timeout_seconds: float
    allowance_seconds: float

    def succeeds(self) -> bool:
        """Ask once."""
        connection = http.client.HTTPConnection(emulators.HOST, self.port, timeout=self.timeout_seconds)
        try:
            connection.request("GET", self.path, headers=dict(self.headers))
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Container:
    """A container to run.

    Attributes:
        name: Its name in the pod.
        image: Its image; the last part of the repository is the name of the Python environment.
        command: Program and arguments.
        environment: Variables of the manifest.
        ports: TCP ports it listens on.
        probes: To succeed one after the other before it is ready.
        pre_stop: Program and arguments of its preStop hook, if it has one.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[int, ...]
    probes: tuple[Probe, ...]
    pre_stop: tuple[str, ...] = ()

    @property
    def venv(self) -> Path:
        """Where the programs of its image are."""
        return VENVS / self.image.rpartition("/")[2].partition("@")[0].partition(":")[0]


@dataclass(frozen=True)
class Pod:
    """The pod of a Deployment.

    Attributes:
        deployment: `<namespace>/<name>`.
        containers: Its containers; none if no replica is wanted.
        grace_seconds: Between SIGTERM and SIGKILL.
    """

    deployment: str
    containers: tuple[Container, ...]
    grace_seconds: float


def runs(pod: Pod, endpoints: Endpoints) -> bool:
    """Whether all containers run, became ready, and know these endpoints of the emulators."""
    found = {process.name: process for process in _processes(pod.deployment)}
    expected = {_process_name(pod.deployment, container) for container in pod.containers}
    return found.keys() == expected and all(
        (process := found[_process_name(pod.deployment, container)]).alive
        and process.labels == _labels(pod, container, endpoints, ready=True)
        for container in pod.containers
    )


def start(pod: Pod, endpoints: Endpoints, *, wait: bool) -> None:
    """Start all containers, after stopping what is left of the Deployment.

    Args:
        pod: What to run.
        endpoints: Of the emulators.
        wait: Until all containers are ready.

    Raises:
        KubeletError: a port is taken, an image is not installed, a container ends or does not become ready.
            None of them is left running then.
    """
    for container in pod.containers:
        _check_image(container)
    stop(pod.deployment)
    for container in pod.containers:
        _check_ports(container)
    try:
        started = [(_start(pod, container, endpoints), container) for container in pod.containers]
        for process, container in started:
            if wait:
                _wait(process, container)
            processes.relabel(process, _labels(pod, container, endpoints, ready=True))
    except ProcessError as error:
        stop(pod.deployment)
        raise KubeletError(str(error)) from error
    except BaseException:
        stop(pod.deployment)
        raise


def stop(deployment: str) -> None:
    """Stop the containers of a Deployment, as a cluster would: preStop hooks, SIGTERM, SIGKILL.

    The grace period begins before the hooks.
    """
    running = _processes(deployment)
    began = time.monotonic()
    hooks = [(process, hook) for process in running if (hook := _pre_stop(process))]
    for process, hook in hooks:
        try:
            hook.wait(max(0.0, began + process.grace_seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            hook.kill()
            hook.wait()
    processes.stop((process.name for process in running), spent_seconds=time.monotonic() - began)


def _pre_stop(process: Process) -> "subprocess.Popen[bytes] | None":
    """Start the preStop hook of a container that runs, in its environment; it writes to the same log.

    As in a cluster, a hook that fails keeps nothing from being stopped: its log says so.
    """
    command = json.loads(process.labels["pre_stop"])
    if not command or not process.alive:
        return None
    with Path(process.log).open("ab") as log:
        try:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=psutil.Process(process.pid).environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            log.write(f"preStop hook: cannot run {command[0]!r}: {error.strerror}\n".encode())
        except psutil.NoSuchProcess:
            pass  # it ended meanwhile
    return None


def _processes(deployment: str) -> list[Process]:
    return [process for process in processes.recorded() if process.labels.get("deployment") == deployment]


def _process_name(deployment: str, container: Container) -> str:
    return f"{KIND}.{deployment.replace('/', '.')}.{container.name}"


def _labels(pod: Pod, container: Container, endpoints: Endpoints, *, ready: bool) -> dict[str, str]:
    return {
        "deployment": pod.deployment,
        "ready": str(ready),
        "emulators": " ".join(endpoints.environment.values()),
        "pre_stop": json.dumps(container.pre_stop),
    }


def _check_image(container: Container) -> None:
    if not (container.venv / "bin" / "python").exists():
        raise KubeletError(
            f"container {container.name}: no environment {container.venv} for image {container.image}; "
            "run `make install`, or mend the image's name"
        )


def _check_ports(container: Container) -> None:
    for port in container.ports:
        if not emulators.is_free(port):
            raise KubeletError(
                f"container {container.name}: port {port} is taken{_holder(port)}. Stop that program, or "
                f"give {container.name} another port in {_ENVIRONMENT_FILE}"
            )


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
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


def _start(pod: Pod, container: Container, endpoints: Endpoints) -> Process:
    name = _process_name(pod.deployment, container)
    shutil.rmtree(folder(f"tmp/{name}"))
    environment = {
        **processes.base_environment(),
        **container.environment,
        **endpoints.environment,
        **issuer.environment(),
        "PATH": f"{container.venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder(f"tmp/{name}")),
    }
    return processes.start(
        name,
        container.command,
        environment,
        grace_seconds=pod.grace_seconds,
        labels=_labels(pod, container, endpoints, ready=False),
    )


def _wait(process: Process, container: Container) -> None:
    for probe in container.probes:
        processes.wait_until(
            probe.succeeds,
            process,
            seconds=max(_LEAST_READY_SECONDS, probe.allowance_seconds),
            poll_seconds=_POLL_SECONDS,
        )
    if not container.probes:
        settled = time.monotonic() + _SETTLE_SECONDS
        processes.wait_until(
            lambda: process.alive and time.monotonic() > settled,
            process,
            seconds=_LEAST_READY_SECONDS,
            poll_seconds=_POLL_SECONDS,
        )
