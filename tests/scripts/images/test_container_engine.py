"""Command lines of tools that cannot run here; a program stands in for each and records its arguments."""

import json
import subprocess
from pathlib import Path

import pytest

from scripts.command import CommandError
from scripts.images import container_engine, image_registry
from tests.scripts.conftest import Tools

IMAGE = "europe-west1-docker.pkg.dev/project/sales-forecast/prediction:tag"
DIGEST = f"sha256:{'a' * 64}"


def build() -> None:
    container_engine.engine().build(
        IMAGE, target="service", labels={"title": "prediction"}, arguments={"A": "1"}
    )


def test_docker_builds_what_depends_on_nothing_but_sources(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = container_engine.run
    dockerfiles: list[str] = []

    def run_and_read(*command: str | Path) -> subprocess.CompletedProcess[str]:
        files = [str(word).removeprefix("--file=") for word in command if str(word).startswith("--file=")]
        dockerfiles.extend(Path(file).read_text() for file in files)
        return run(*command)

    monkeypatch.setattr(container_engine, "run", run_and_read)
    tools.add("docker")
    build()
    _, built, loaded = tools.calls()
    assert dockerfiles == [
        container_engine.DOCKERFILE.read_text() + '\nFROM service\nLABEL title="prediction"\n'
    ]
    built = [word for word in built if not word.startswith("--file=")]
    assert built[:3] == ["docker", "buildx", "build"]
    [output] = [option for option in built if option.startswith("--output=")]
    kind, destination, times = output.removeprefix("--output=").split(",")
    assert (kind, times) == ("type=docker", "rewrite-timestamp=true")
    assert built[-1] == "."
    assert set(built[3:-1]) == {
        output,
        "--provenance=false",
        "--sbom=false",
        "--platform=linux/amd64",
        f"--tag={IMAGE}",
        "--build-arg=A=1",
        "--build-arg=SOURCE_DATE_EPOCH=0",
    }
    assert loaded == ["docker", "load", f"--input={destination.removeprefix('dest=')}"]


@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_authority_of_a_proxy_is_a_secret_of_the_build(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    tools.add(engine)
    monkeypatch.setenv("PIP_CERT", "/etc/authority.pem")
    build()
    assert tools.calls()[-1][:2] == [engine, "build"]
    assert "--secret=id=ca-bundle,src=/etc/authority.pem" in tools.calls()[-1]


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_runs_as_kubernetes_does(tools: Tools, tmp_path: Path, engine: str) -> None:
    tools.add(engine)
    command = ("python", "-m", "services.batch.train", "--help")
    with container_engine.engine().running(IMAGE, command, {"PORT": "8080"}, tmp_path / "log") as container:
        assert container.wait(60) == 0
    *options, image, module, name, flag = tools.calls()[-1]
    assert options[:2] == [engine, "run"]
    assert (image, module, name, flag) == (IMAGE, *command[1:])
    assert {"--read-only", "--user=65532", "--cap-drop=ALL", "--entrypoint=python", "--env=PORT=8080"} < set(
        options
    )


def test_engine_is_the_first_that_works(tools: Tools) -> None:
    tools.add("docker", {"version": (1, "Cannot connect to the Docker daemon")})
    tools.add("buildah")
    assert container_engine.engine().name == "buildah"
    tools.add("podman")
    assert container_engine.engine().name == "podman"
    tools.add("docker")
    assert container_engine.engine().name == "docker"


def test_no_engine(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="docker, podman, buildah: not installed, or not running"):
        container_engine.engine()
    monkeypatch.setenv("CONTAINER_ENGINE", "podman")
    with pytest.raises(CommandError, match="podman: not installed, or not running"):
        container_engine.engine()
    monkeypatch.setenv("CONTAINER_ENGINE", "rkt")
    with pytest.raises(CommandError, match="expected one of docker, podman, buildah, found rkt"):
        container_engine.engine()


def test_skopeo_asks_the_registry(tools: Tools) -> None:
    layers = json.dumps({"layers": [{"digest": "sha256:1"}, {"digest": "sha256:2"}]})
    tools.add("skopeo", {"inspect --format": (0, DIGEST), "inspect --raw": (0, layers)})
    assert image_registry.digest(IMAGE) == DIGEST
    assert image_registry.layers(IMAGE) == {"sha256:1", "sha256:2"}
    image_registry.copy(IMAGE, "to")
    assert tools.calls()[-1] == [
        *("skopeo", "copy", "--preserve-digests", f"docker://{IMAGE}", "docker://to"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "reading manifest tag in host/prediction: manifest unknown: Failed to fetch",
        "reading manifest tag in host/prediction: name unknown: repository name not known",
    ],
)
def test_registry_without_the_image(tools: Tools, answer: str) -> None:
    tools.add("skopeo", {"": (1, answer)})
    assert image_registry.digest(IMAGE) is None
    assert image_registry.layers(IMAGE) == set()


@pytest.mark.parametrize(
    "answer",
    [
        "dial tcp 127.0.0.1:1: connect: connection refused",
        "unauthorized: authentication required",
        'exec: "docker-credential-gcloud": executable file not found in $PATH',
    ],
)
def test_failure_is_not_taken_for_absence(tools: Tools, answer: str) -> None:
    tools.add("skopeo", {"": (1, answer)})
    with pytest.raises(CommandError, match="skopeo inspect"):
        image_registry.digest(IMAGE)


def test_without_skopeo(tools: Tools) -> None:
    with pytest.raises(CommandError, match="install skopeo"):
        image_registry.digest(IMAGE)


def test_log_in_uses_the_account_of_gcloud(tools: Tools) -> None:
    tools.add("gcloud")
    image_registry.log_in(["b.pkg.dev", "localhost:5000", "a.pkg.dev", "b.pkg.dev"])
    assert tools.calls() == [
        ["gcloud", "auth", "print-access-token"],
        ["gcloud", "auth", "configure-docker", "--quiet", "a.pkg.dev,b.pkg.dev"],
    ]


def test_not_logged_in(tools: Tools) -> None:
    with pytest.raises(CommandError, match=r"not logged in: `gcloud auth login`[\s\S]*gcloud is not on PATH"):
        image_registry.log_in(["europe-west1-docker.pkg.dev"])
    tools.add("gcloud", {"auth print-access-token": (1, "You do not currently have an active account")})
    with pytest.raises(CommandError, match=r"not logged in[\s\S]*an active account"):
        image_registry.log_in(["europe-west1-docker.pkg.dev"])
