"""Images, built for real: what is in them, that they work, where they are pushed, what goes wrong."""

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from infra import environment
from infra.environment import ImageName
from scripts import engine as engines
from scripts import promote, push_image, smoke
from tests.images.conftest import Checkout, Registry

pytestmark = [pytest.mark.slow, pytest.mark.images]

SERVICES = get_args(ImageName)
# Bytes, uncompressed. Batch has LightGBM, Polars and Beam.
LARGEST = {"prediction": 170e6, "streaming": 200e6, "batch": 900e6}


def reference(service: str) -> str:
    return f"localhost/{service}:test"


@pytest.fixture(params=SERVICES)
def built(request: pytest.FixtureRequest, engines: None, checkout: Checkout) -> ImageName:
    """A service whose image was built from the checkout."""
    build(request.param)
    return request.param


def build(service: ImageName) -> None:
    origin = push_image.source(service, allow_dirty=False)
    push_image.build(engines.engine(), service, origin, reference(service))


def inspect(name: str) -> dict[str, Any]:
    return json.loads(engines.run("podman", "image", "inspect", name).stdout)[0]


def run_python(service: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line in the image, as the cluster would."""
    options = ("--rm", "--read-only", "--network=host", "--no-healthcheck", "--cap-drop=ALL")
    command = ["podman", "run", *options, "--entrypoint=python", reference(service), "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_image_as_kubernetes_wants_it(built: ImageName) -> None:
    config = inspect(reference(built))["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert config["User"] == "65532:65532"
    program = "/opt/apache/beam/boot" if built == "batch" else "python"
    assert config["Entrypoint"][0] == program, "in exec form: signals reach it"
    assert labels["title"] == built
    assert len(labels["revision"]) == 40
    assert engines.engine().size(reference(built)) < LARGEST[built]
    probe = "import os, pathlib; print(os.getuid(), pathlib.Path('/bin/sh').exists()); open('/app/x', 'w')"
    tried = run_python(built, probe)
    assert tried.stdout.split() == ["65532", "False"]
    assert "Read-only file system" in tried.stderr


def test_image_carries_its_own_packages_only(built: ImageName) -> None:
    code = "import importlib.util as u; print(*(n for n in {names!r} if u.find_spec(n)))"
    heavy = ("lightgbm", "polars", "apache_beam", "sklearn", "pip", "cdktf")
    found = run_python(built, code.format(names=heavy)).stdout.split()
    assert set(found) == ({"lightgbm", "polars", "apache_beam"} if built == "batch" else set())


def test_bytecode_is_there_and_current(built: ImageName) -> None:
    code = (
        "import importlib.util as u, services.contracts.names as m, os; print(os.path.exists(m.__cached__))"
    )
    assert run_python(built, code).stdout.strip() == "True"


def test_a_second_build_is_the_same_image(engines: None, checkout: Checkout) -> None:
    build("prediction")
    first = inspect(reference("prediction"))
    subprocess.run(["podman", "rmi", "--force", first["Id"]], check=True, capture_output=True)
    subprocess.run(["podman", "image", "prune", "--force"], check=True, capture_output=True)
    build("prediction")
    assert inspect(reference("prediction"))["Id"] == first["Id"]


@pytest.mark.parametrize(("service", "engine"), [("prediction", "podman"), ("streaming", "buildah")])
def test_from_source_to_a_pinned_rollout(
    registry: Registry, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, service: ImageName, engine: str
) -> None:
    monkeypatch.setenv("CONTAINER_ENGINE", engine)
    with registry.used():
        assert push_image.main([service, "dev"]) == 0
        written = checkout.images()
        assert written is not None
        digest = environment.load("dev", directory=checkout.environments).images[service]
        repository = f"{registry.address}/sales-forecast-dev/{service}"
        revision = checkout.git("rev-parse", "HEAD")
        assert engines.digest(f"{repository}:{revision}") == digest

        uploads = registry.process.log.read_text().count('"PUT ')
        assert push_image.main([service, "dev"]) == 0
        assert checkout.images() == written
        assert registry.process.log.read_text().count('"PUT ') == uploads, "nothing was pushed again"

        assert promote.main([service, "dev", "staging"]) == 0
        promoted = environment.load("staging", directory=checkout.environments).images[service]
        assert promoted == digest
        assert engines.digest(f"{registry.address}/sales-forecast-staging/{service}@{digest}") == digest

        engines.run("podman", "pull", "--quiet", f"{repository}@{digest}")
        with smoke.surroundings():
            done = smoke.check(engines.engine(), f"{repository}@{digest}", service)
        assert "after SIGTERM" in done


def test_a_change_of_code_pushes_its_layer_only(registry: Registry, checkout: Checkout) -> None:
    with registry.used():
        build("prediction")
        name = f"{registry.address}/prediction:{{}}"
        engines.run("podman", "tag", reference("prediction"), name.format("before"))
        engine = engines.engine()
        assert engine.push(name.format("before")) == 0
        layers = inspect(reference("prediction"))["RootFS"]["Layers"]

        (checkout.folder / "services/prediction/changed.py").write_text("CHANGED = True\n")
        checkout.git("add", ".")
        checkout.git("commit", "--quiet", "--message=second")
        build("prediction")
        engines.run("podman", "tag", reference("prediction"), name.format("after"))
        assert engine.push(name.format("after")) == len(layers) - 1
        assert inspect(reference("prediction"))["RootFS"]["Layers"][:-1] == layers[:-1]


def test_push_denied(registry: Registry, checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    with registry.used():
        build("prediction")
        engines.run("podman", "logout", registry.address)
        assert push_image.main(["prediction", "dev"]) == 1
        error = capsys.readouterr().err
        assert "push_image: " in error
        assert "unauthorized" in error or "authentication required" in error
        assert checkout.images() is None


def test_registry_down_midway(
    registry: Registry,
    checkout: Checkout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def smoke_run(*_: object) -> str:
        registry.process.kill()
        return "the registry went down meanwhile"

    monkeypatch.setattr(smoke, "check", smoke_run)
    with registry.used():
        assert push_image.main(["prediction", "dev"]) == 1
    error = capsys.readouterr().err
    assert "podman push" in error
    assert "connection refused" in error
    assert checkout.images() is None


def test_image_that_does_not_become_ready(
    registry: Registry, checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout.folder / "services/prediction/__main__.py").write_text("raise SystemExit('out of order')\n")
    with registry.used():
        assert push_image.main(["prediction", "dev", "--allow-dirty"]) == 1
    error = capsys.readouterr().err
    assert "ended with 1 before it was ready" in error
    assert "out of order" in error
    assert checkout.images() is None


def test_dry_run_pushes_nothing(registry: Registry, checkout: Checkout) -> None:
    with registry.used():
        assert push_image.main(["batch", "dev", "--dry-run"]) == 0
    assert '"PUT ' not in registry.process.log.read_text()
    assert checkout.images() is None


def test_context_is_small(checkout: Checkout) -> None:
    """What `.dockerignore` lets through: the services' sources and their locks."""
    context = checkout.folder
    files = [path for path in Path(context, "services").rglob("*") if path.is_file()]
    files += [Path(context, "requirements", f"{service}.lock") for service in SERVICES]
    assert sum(path.stat().st_size for path in files) < 1_000_000
