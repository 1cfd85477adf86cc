"""Real images: what is in them, that they work, where they are pushed, what goes wrong."""

import json
import os
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra import environment
from infra.environment import IMAGES
from scripts.images import container_engine, image_registry, promote, push_image, smoke_run
from tests.images.conftest import Checkout, Registry, another_machine
from tests.scripts.conftest import Tools

pytestmark = [pytest.mark.slow, pytest.mark.images]

# Bytes, uncompressed. 57 MB of them are the tests' base: the real one's Python, and dpkg and OpenSSL's
# command, which the real one lacks. Batch has LightGBM, Polars, PyArrow, Beam with its boot, and pip.
LARGEST = {
    "prediction": 168e6,  # 14 MB of them are uvloop with its symbols
    "streaming": 180e6,
    "batch": 880e6,
}


@pytest.fixture(params=IMAGES)
def built(request: pytest.FixtureRequest, images: Mapping[str, str]) -> str:
    """Reference of an image, as it was built from the checkout."""
    return images[request.param]


def build(service: str, reference: str) -> None:
    push_image.build(
        container_engine.engine(), service, push_image.source(service, allow_dirty=False), reference
    )


def inspect(name: str) -> dict[str, Any]:
    return json.loads(container_engine.run("podman", "image", "inspect", name).stdout)[0]


def run_python(reference: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line in the image, as the cluster would."""
    options = ("--rm", "--read-only", "--network=host", "--no-healthcheck", "--cap-drop=ALL")
    command = ["podman", "run", *options, "--entrypoint=python", reference, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def signing_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """A gcloud that signs: Binary Authorization and Cloud KMS exist in Google Cloud only."""
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    tools = Tools(folder)
    tools.add(
        "gcloud",
        {
            "container binauthz attestations list": (0, "[]"),
            "container binauthz attestors describe": (0, '{"userOwnedGrafeasNote": {}}'),
            "kms keys versions list": (0, '[{"name": "key/cryptoKeyVersions/1"}]'),
        },
    )
    return tools


def service_of(reference: str) -> str:
    return reference.removeprefix("localhost/").removesuffix(":test")


def test_image_as_kubernetes_wants_it(built: str, committed: Checkout) -> None:
    service = service_of(built)
    config = inspect(built)["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert config["User"] == "65532:65532"
    program = "/opt/apache/beam/boot" if service == "batch" else "python"
    assert config["Entrypoint"][0] == program, "in exec form: signals reach it"
    assert labels["title"] == service
    assert labels["revision"] == committed.git("rev-parse", "HEAD")
    probe = "import os, pathlib; print(os.getuid(), pathlib.Path('/bin/sh').exists()); open('/app/x', 'w')"
    tried = run_python(built, probe)
    assert tried.stdout.split() == ["65532", "False"]
    assert "Read-only file system" in tried.stderr


def test_image_is_small(built: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = container_engine.engine().size(built)
    assert size < LARGEST.get(service_of(built), 150e6)
    monkeypatch.setenv("CONTAINER_ENGINE", "buildah")
    assert container_engine.engine().size(built) == pytest.approx(size, rel=0.02)


def test_image_carries_its_own_packages_only(built: str) -> None:
    code = "import importlib.util as u; print(*(n for n in {names!r} if u.find_spec(n)))"
    heavy = ("lightgbm", "polars", "apache_beam", "sklearn", "pip", "setuptools", "cdktf")
    found = run_python(built, code.format(names=heavy)).stdout.split()
    of_batch = {"lightgbm", "polars", "apache_beam", "pip"}  # Beam's boot runs pip
    assert set(found) == (of_batch if service_of(built) == "batch" else set())


def test_bytecode_is_there_and_current(built: str) -> None:
    code = (
        "import importlib.util as u, services.contracts.names as m, os; print(os.path.exists(m.__cached__))"
    )
    assert run_python(built, code).stdout.strip() == "True"


def test_a_second_build_is_the_same_image(
    images: Mapping[str, str],
    registry: Registry,
    checkout: Checkout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From nothing, and by another engine; the digest is that of what is pushed."""
    references = {"podman": images["prediction"], "buildah": "localhost/prediction:again"}
    with monkeypatch.context() as patch:
        run = container_engine.run

        def run_uncached(*command: str | Path) -> subprocess.CompletedProcess[str]:
            more = ["--no-cache"] if command[1] == "build" else []
            return run(*command[:2], *more, *command[2:])

        patch.setattr(container_engine, "run", run_uncached)
        patch.setenv("CONTAINER_ENGINE", "buildah")
        build("prediction", references["buildah"])
    assert inspect(references["buildah"])["Id"] == inspect(references["podman"])["Id"]
    with registry.used():
        digests: set[str | None] = set()
        for engine, reference in references.items():
            monkeypatch.setenv("CONTAINER_ENGINE", engine)
            name = f"{registry.address}/{engine}/prediction:test"
            container_engine.run(engine, "tag", reference, name)
            container_engine.run(engine, "push", name)
            digests.add(image_registry.digest(name))
    assert len(digests) == 1


@pytest.mark.usefixtures("images", "emulators")
@pytest.mark.parametrize(
    ("service", "engine"), [("prediction", "podman"), ("streaming", "buildah"), ("batch", "buildah")]
)
def test_from_source_to_a_pinned_rollout(
    registry: Registry,
    checkout: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: str,
    engine: str,
) -> None:
    monkeypatch.setenv("CONTAINER_ENGINE", engine)
    with registry.used():
        assert push_image.main([service, "dev"]) == 0
        written = checkout.images()
        assert written is not None
        digest = environment.load("dev", directory=checkout.environments).images[service]
        repository = f"{registry.address}/sales-forecast-dev/{service}"
        revision = checkout.git("rev-parse", "HEAD")
        assert image_registry.digest(f"{repository}:{revision}") == digest

        uploads = registry.uploads()
        assert push_image.main([service, "dev"]) == 0
        assert checkout.images() == written
        assert registry.uploads() == uploads, "nothing was pushed again"

        google = signing_service(tmp_path / "google", monkeypatch)
        assert promote.main([service, "dev", "staging"]) == 0
        [signed] = [call for call in google.calls() if "sign-and-create" in call]
        signed_image = f"{registry.address}/sales-forecast-staging/{service}@{digest}"
        assert f"--artifact-url={signed_image}" in signed
        promoted = environment.load("staging", directory=checkout.environments).images[service]
        assert promoted == digest
        assert image_registry.digest(signed_image) == digest

        with another_machine(tmp_path):
            container_engine.run(engine, "pull", "--quiet", f"{repository}@{digest}")
            done = smoke_run.check(container_engine.engine(), f"{repository}@{digest}", service)
        assert ("its commands load" if service == "batch" else "after SIGTERM") in done


@pytest.mark.usefixtures("images", "emulators")
def test_a_change_of_code_builds_and_pushes_its_layer_only(
    registry: Registry, checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    with registry.used():
        assert push_image.main(["prediction", "dev"]) == 0
        assert "0 of 3 layers as in the image pinned before" in capsys.readouterr().out
        (checkout.folder / "services/prediction/changed.py").write_text("CHANGED = True\n")
        checkout.git("add", ".")
        checkout.git("commit", "--quiet", "--message=second")

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        build("prediction", "localhost/prediction:changed")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        assert spent < 10, "CPU seconds: others may use this machine"

        uploads = registry.uploads()
        assert push_image.main(["prediction", "dev"]) == 0
        assert "2 of 3 layers as in the image pinned before" in capsys.readouterr().out
        assert registry.uploads() - uploads == 2, "a layer and the image's settings"


@pytest.mark.usefixtures("images", "emulators")
def test_push_denied(registry: Registry, checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    with registry.used():
        container_engine.run("podman", "logout", registry.address)
        assert push_image.main(["prediction", "dev"]) == 1
        error = capsys.readouterr().err
        assert "push_image: " in error
        assert "unauthorized" in error or "authentication required" in error
        assert checkout.images() is None


@pytest.mark.usefixtures("images", "emulators")
def test_registry_down_midway(
    registry: Registry,
    checkout: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check(*_: object) -> str:
        registry.process.kill()
        return "the registry went down meanwhile"

    monkeypatch.setattr(smoke_run, "check", check)
    with registry.used():
        assert push_image.main(["prediction", "dev"]) == 1
    error = capsys.readouterr().err
    assert "podman push" in error
    assert "connection refused" in error
    assert checkout.images() is None


@pytest.mark.usefixtures("images", "emulators")
def test_image_that_does_not_become_ready(
    registry: Registry, checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout.folder / "services/prediction/__main__.py").write_text("raise SystemExit('out of order')\n")
    with registry.used():
        assert push_image.main(["prediction", "dev", "--allow-dirty"]) == 1
    error = capsys.readouterr().err
    assert "ended with 1 before it was ready" in error
    assert "out of order" in error
    assert registry.uploads() == 0
    assert checkout.images() is None


@pytest.mark.usefixtures("images", "emulators")
def test_dry_run_pushes_nothing(registry: Registry, checkout: Checkout) -> None:
    with registry.used():
        assert push_image.main(["prediction", "dev", "--dry-run"]) == 0
    assert registry.uploads() == 0
    assert checkout.images() is None


def test_context_is_small(checkout: Checkout) -> None:
    """The files that `.dockerignore` admits: the services' sources and their locks."""
    files = [path for path in Path(checkout.folder, "services").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
