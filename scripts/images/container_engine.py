"""Container engines: docker, podman, buildah."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from scripts.command import CommandError, captured, started

DOCKERFILE: Final = Path("services", "Dockerfile")
_USER: Final = 65532  # the Dockerfile names it, too


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; CommandError, if it is absent or fails, has the end of what it printed."""
    try:
        done = captured(*command, cwd=Path())
    except FileNotFoundError:
        raise CommandError(f"{command[0]} is not on PATH") from None
    if done.returncode != 0:
        tail = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        shown = " ".join(map(str, command[:3]))
        raise CommandError(f"`{shown} ...` exited with {done.returncode}:\n    {tail}")
    return done


class Container(contextlib.AbstractContextManager["Container"]):
    """A container that the command `start` runs; it is killed when its context ends.

    `kill` gives the command that sends it a signal, by the signal's name; `log` receives what it prints.
    """

    def __init__(self, start: Sequence[str], kill: Callable[[str], Sequence[str]], log: Path):
        self._kill = kill
        self._process = started(*start, log=log)

    def wait(self, seconds: float = 0) -> int | None:
        """Exit status of its process; None if it still runs after so many seconds."""
        try:
            return self._process.wait(seconds)
        except psutil.TimeoutExpired:
            return None

    def signal(self, name: str) -> None:
        """Send it a signal, such as TERM."""
        with contextlib.suppress(CommandError):  # it ended meanwhile
            run(*self._kill(name))

    def __exit__(self, *_: object) -> None:
        if self.wait() is None:
            self.signal("KILL")
            self._process.wait()


class Engine:
    """A program that builds and runs images: podman, from whose ways those of others differ."""

    def __init__(self, name: str):
        self.name = name

    def build(
        self, reference: str, *, target: str, labels: Mapping[str, str], arguments: Mapping[str, str]
    ) -> None:
        """Build a stage of the Dockerfile into an image whose digest depends on its sources alone.

        The context is the working directory. CommandError as `run`.
        """
        # The platform of the cluster's nodes, whatever machine builds the image.
        options = ["--platform=linux/amd64", f"--tag={reference}"]
        options += [f"--build-arg={name}={value}" for name, value in sorted(arguments.items())]
        # Behind a proxy that intercepts TLS, downloads need its certificate, and the image must not have it.
        if bundle := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
            options.append(f"--secret=id=ca-bundle,src={bundle}")
        # Labels are a stage of their own: buildah would put those of an option into each layer that it keeps,
        # from where they would reach later builds.
        text = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()))
        with tempfile.NamedTemporaryFile("w", prefix="Dockerfile-") as file:
            file.write(f"{DOCKERFILE.read_text()}\nFROM {target}\nLABEL {text}\n")
            file.flush()
            self._build([f"--file={file.name}", *options, "."])

    def _build(self, arguments: Sequence[str]) -> None:
        # One time for all files, and the format that does not name the container it was built in: bytes
        # depend on contents alone. Downloads use the host's network, so that no network plugin is needed.
        run(self.name, "build", "--layers", "--timestamp=0", "--format=oci", "--network=host", *arguments)

    def size(self, reference: str) -> int:
        """Bytes of a local image, uncompressed."""
        return int(run(self.name, "image", "inspect", "--format={{.Size}}", reference).stdout)

    def running(
        self, reference: str, command: Sequence[str], variables: Mapping[str, str], log: Path
    ) -> contextlib.AbstractContextManager[Container]:
        """Run a local image as Kubernetes does: read-only, without privileges, with a `/tmp` of its own.

        The container uses the host's network. It is removed when the context ends.
        """
        name = f"smoke-{uuid.uuid4().hex[:12]}"
        start = [
            *(self.name, "run", "--rm", f"--name={name}", "--network=host", "--pull=never"),
            *("--read-only", "--tmpfs=/tmp:size=64m", f"--user={_USER}", "--cap-drop=ALL"),
            *("--security-opt=no-new-privileges", "--no-healthcheck"),
            *(f"--env={key}={value}" for key, value in variables.items()),
            *(f"--entrypoint={command[0]}", reference, *command[1:]),
        ]
        return Container(start, lambda signal: (self.name, "kill", f"--signal={signal}", name), log)


class _Docker(Engine):
    def _build(self, arguments: Sequence[str]) -> None:
        # Docker's own builder sets the times of files only in an archive (moby/buildkit#4230). Attestations
        # carry the time of the build, so that every build would be another image.
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            archive = Path(folder, "image.tar")
            run(
                *("docker", "buildx", "build", "--provenance=false", "--sbom=false"),
                f"--output=type=docker,dest={archive},rewrite-timestamp=true",
                *("--build-arg=SOURCE_DATE_EPOCH=0", *arguments),
            )
            run("docker", "load", f"--input={archive}")


class _Buildah(Engine):
    """Has podman's storage and options of `build`, but cannot run a container read-only: runc does."""

    def size(self, reference: str) -> int:
        inspected = json.loads(run("buildah", "inspect", "--type=image", reference).stdout)
        return sum(layer["size"] for layer in json.loads(inspected["Manifest"])["layers"])

    @contextlib.contextmanager
    def running(
        self, reference: str, command: Sequence[str], variables: Mapping[str, str], log: Path
    ) -> Generator[Container]:
        config = json.loads(run("buildah", "inspect", "--type=image", reference).stdout)["OCIv1"]["config"]
        name = run("buildah", "from", "--pull-never", reference).stdout.strip()
        try:
            root = run("buildah", "mount", name).stdout.strip()
            with tempfile.TemporaryDirectory(prefix="bundle-") as bundle:
                run("runc", "spec", f"--bundle={bundle}")
                file = Path(bundle) / "config.json"
                spec = json.loads(file.read_text())
                spec["root"] = {"path": root, "readonly": True}
                spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})  # noqa: S108
                spec["linux"]["namespaces"].remove({"type": "network"})
                spec["process"] = {
                    "args": [*command],
                    "env": [*config["Env"], *(f"{key}={value}" for key, value in variables.items())],
                    "cwd": config["WorkingDir"],
                    "user": {"uid": _USER, "gid": _USER},
                    "noNewPrivileges": True,
                }
                file.write_text(json.dumps(spec))
                start = ("runc", "run", f"--bundle={bundle}", name)
                with Container(start, lambda signal: ("runc", "kill", name, signal), log) as container:
                    yield container
        finally:
            run("buildah", "rm", name)


_ENGINES: Final = {"docker": _Docker, "podman": Engine, "buildah": _Buildah}


def engine() -> Engine:
    """The engine that CONTAINER_ENGINE names, by default the first that works; CommandError without one."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    if wanted is not None and wanted not in _ENGINES:
        raise CommandError(f"CONTAINER_ENGINE: expected one of {', '.join(_ENGINES)}, found {wanted}")
    for name in [wanted] if wanted else _ENGINES:
        # Docker's client may be installed without a running engine: ask for the engine's version.
        question = ("version", "--format={{.Server.Version}}") if name == "docker" else ("--version",)
        command = [name, *question]
        if shutil.which(name) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return _ENGINES[name](name)
    remedy = "install podman, or buildah with runc, or start docker's engine"
    raise CommandError(f"{wanted or ', '.join(_ENGINES)}: not installed, or not running: {remedy}")
