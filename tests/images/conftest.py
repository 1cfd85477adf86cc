"""Engines that need no daemon, bases from Debian packages, a registry on loopback."""

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import bcrypt
import pytest

from infra.environment import IMAGES, Environment
from infra.google.images import ROOT
from scripts.images import container_engine, push_image, smoke_run
from tests.conftest import Process, free_port
from tests.images import beam_programs

# Kept between runs: making the bases and fetching the packages take minutes.
STORAGE = ROOT / "build" / "containers"
BUILD_IMAGE = "localhost/build:trixie"
BASE_IMAGE = "localhost/base:trixie"
DATAFLOW_IMAGE = "localhost/dataflow:stand-in"
# What our Dockerfiles use of `python:3.13-slim-trixie`, and what distroless' Python has.
_BUILD_PACKAGES = (
    *("base-files", "ca-certificates", "libc-bin", "python3-pip"),
    *("coreutils", "dash", "findutils", "sed"),
)
_BASE_PACKAGES = (
    *("base-files", "netbase", "tzdata", "ca-certificates", "libgomp1", "libstdc++6"),
    *("python3-minimal", "libpython3-stdlib"),
)
_PROGRAMS = ("podman", "buildah", "runc", "skopeo", "docker-registry", "mmdebstrap")

_CONTAINERS_CONF = """
[containers]
# Where the caller may not raise its own limits, the engine's defaults are too high.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """podman, buildah and skopeo with storage and settings of their own, and the two base images."""
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}: scripts/debian_packages.sh")
    folder = tmp_path_factory.mktemp("engines")
    (folder / "containers.conf").write_text(_CONTAINERS_CONF)
    storage = _storage(folder, STORAGE)
    home = folder / "home"
    registries = home / ".config" / "containers" / "registries.conf"
    registries.parent.mkdir(parents=True)
    registries.write_text("unqualified-search-registries = []\n")
    variables = {
        "HOME": str(home),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINER_ENGINE": "podman",
        "BUILD_IMAGE": BUILD_IMAGE,
        "BASE_IMAGE": BASE_IMAGE,
        "BEAM_IMAGE": DATAFLOW_IMAGE,
        "LAUNCHER_IMAGE": DATAFLOW_IMAGE,
    }
    with mock.patch.dict(os.environ, variables):
        with ThreadPoolExecutor() as threads:
            bases = [
                threads.submit(_import, BUILD_IMAGE, _BUILD_PACKAGES, folder / "build.tar"),
                threads.submit(_import, BASE_IMAGE, _BASE_PACKAGES, folder / "base.tar"),
            ]
            _import_dataflow(folder)
        for base in bases:
            base.result()
        python = ("--rm", "--network=host", "--read-only", "--entrypoint=python3", BASE_IMAGE)
        tried = subprocess.run(
            ["podman", "run", *python, "--version"], check=False, capture_output=True, text=True
        )
        if tried.returncode:
            pytest.skip(f"containers cannot run here: {tried.stderr.strip()}")
        yield


def _import(name: str, packages: tuple[str, ...], archive: Path) -> None:
    """Make an image of Debian packages, unpacked only: configuring them would take minutes."""
    if subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0:
        return
    exclude = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "locale", "man")]
    authorities = "/etc/ssl/certs/ca-certificates.crt"  # else made when ca-certificates is configured
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(packages)}", *exclude),
            *(f"--extract-hook=copy-in {authorities} /etc/ssl/certs", "trixie", str(archive)),
        ],
        check=True,
    )
    subprocess.run(["podman", "import", "--quiet", str(archive), name], check=True, capture_output=True)
    archive.unlink()


def _storage(folder: Path, images: Path) -> Path:
    """Settings that keep images and mounts in a folder, since podman remembers the place of both."""
    file = folder / "storage.conf"
    file.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{images / "graph"}"\nrunroot = "{images / "run"}"\n'
    )
    return file


def _import_dataflow(folder: Path) -> None:
    """Beam's real boot where it was built, and a stand-in for the launcher, which cannot be downloaded."""
    boot, launcher = (
        folder / "dataflow" / program
        for program in ("opt/apache/beam/boot", "opt/google/dataflow/python_template_launcher")
    )
    for file in boot, launcher:
        file.parent.mkdir(parents=True)
        file.write_text("not the real one")
        file.chmod(0o755)
    if program := beam_programs.program("boot"):
        shutil.copy(program, boot)
    archive = shutil.make_archive(str(folder / "dataflow"), "tar", folder / "dataflow")
    subprocess.run(["podman", "import", "--quiet", archive, DATAFLOW_IMAGE], check=True, capture_output=True)


@dataclasses.dataclass(frozen=True)
class Registry:
    """A registry with a password."""

    process: Process
    address: str
    password: str

    def uploads(self) -> int:
        """Number of blobs uploaded so far."""
        return len(re.findall(r'"PUT /v2/\S+/blobs/', self.process.log.read_text()))

    @contextlib.contextmanager
    def used(self) -> Generator[None]:
        """Use it as the registry of every environment, with tools logged in."""
        repository = property(lambda each: f"{self.address}/{each.project_id}")
        login = [
            "podman",
            "login",
            "--username=test",
            f"--password={self.password}",
            "--tls-verify=false",
        ]
        config = Path(os.environ["HOME"]) / ".config" / "containers" / "registries.conf"
        config.write_text(f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n')
        auth = Path(os.environ["HOME"]) / "auth.json"
        with (
            mock.patch.object(Environment, "image_repository", repository),
            mock.patch.dict(os.environ, {"REGISTRY_AUTH_FILE": str(auth)}),
        ):
            subprocess.run([*login, self.address], check=True, capture_output=True)
            yield
            auth.unlink()


@pytest.fixture
def registry(containers: None, tmp_path: Path) -> Iterator[Registry]:
    """An empty registry on loopback."""
    password = secrets.token_hex()
    users = tmp_path / "users"
    users.write_text(f"test:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n")
    port = free_port()
    address = f"127.0.0.1:{port}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'images'}}}}}\n"
        f"http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {users}}}}}\n"
    )
    process = Process(["docker-registry", "serve", str(config)], {}, port, tmp_path / "registry.log")
    process.start()
    yield Registry(process, address, password)
    process.kill()


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A committed copy of what images are made of, with environments dev and staging."""

    folder: Path

    @property
    def environments(self) -> Path:
        return self.folder / "infra" / "environments"

    def images(self, environment: str = "dev") -> str | None:
        """The recorded digests of an environment, as text."""
        file = self.environments / f"{environment}.images.json"
        return file.read_text() if file.exists() else None

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The commit that every test copies: the same commit makes the same image."""
    copy = Checkout(tmp_path_factory.mktemp("committed"))
    for name in ("services", "infra/environments"):
        ignored = shutil.ignore_patterns("__pycache__", "*.images.json")
        shutil.copytree(ROOT / name, copy.folder / name, ignore=ignored)
    shutil.copy(ROOT / ".dockerignore", copy.folder)
    copy.git("init", "--quiet")
    copy.git("add", ".")
    copy.git("commit", "--quiet", "--message=first")
    return copy


@pytest.fixture
def checkout(committed: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A copy of that commit: the working directory, and the sources of `push_image`."""
    copy = Checkout(shutil.copytree(committed.folder, tmp_path / "checkout"))
    use(copy, monkeypatch)
    return copy


def use(copy: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the sources from a checkout."""
    monkeypatch.setattr(push_image, "ROOT", copy.folder)
    monkeypatch.setenv("PLATFORM_ENVIRONMENTS", str(copy.environments))
    monkeypatch.chdir(copy.folder)


@pytest.fixture(scope="session")
def images(containers: None, committed: Checkout) -> Mapping[str, str]:
    """References of all images, built at the same time."""
    references = {name: f"localhost/{name}:test" for name in IMAGES}
    with pytest.MonkeyPatch.context() as monkeypatch, ThreadPoolExecutor() as threads:
        use(committed, monkeypatch)
        origins = {name: push_image.source(name, allow_dirty=False) for name in references}

        def build(name: str) -> None:
            push_image.build(container_engine.engine(), name, origins[name], references[name])

        list(threads.map(build, references))
    return references


@pytest.fixture(scope="session")
def emulators(containers: None) -> Iterator[None]:
    """The emulators of `smoke_run.check`, started once."""
    with smoke_run.surroundings(), mock.patch.object(smoke_run, "surroundings", contextlib.nullcontext):
        yield


@contextlib.contextmanager
def another_machine(folder: Path) -> Generator[None]:
    """Engines with an empty storage, which is emptied again afterwards."""
    storage = _storage(folder, folder / "storage")
    with mock.patch.dict(os.environ, {"CONTAINERS_STORAGE_CONF": str(storage)}):
        try:
            yield
        finally:
            container_engine.run("podman", "rmi", "--all", "--force")
