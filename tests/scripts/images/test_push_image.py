"""What `push_image.sh` and `promote.sh` refuse; then they record nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infra import environment
from infra.environment import record_image
from infra.google.images import source_paths
from scripts.images import container_engine, promote, push_image
from tests.scripts.conftest import Tools

DIGEST = f"sha256:{'a' * 64}"
GIT = shutil.which("git") or "git"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit of what an image of prediction is made of."""
    folder = tmp_path / "checkout"
    for name in ("services", "infra/environments"):
        ignored = shutil.ignore_patterns("__pycache__", "*.images.json")
        shutil.copytree(push_image.ROOT / name, folder / name, ignore=ignored)
    shutil.copy(push_image.ROOT / ".dockerignore", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    monkeypatch.setattr(push_image, "ROOT", folder)
    monkeypatch.setenv("PLATFORM_ENVIRONMENTS", str(folder / "infra" / "environments"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def registry(tools: Tools) -> Tools:
    """gcloud has an account, and the registry has no image."""
    (tools.folder / "git").symlink_to(GIT)
    tools.add("gcloud")
    tools.add("skopeo", {"inspect": (1, "manifest unknown")})
    return tools


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["predictions", "dev"], "invalid choice: 'predictions'"), (["prediction"], "required: ENVIRONMENT")],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], error: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        push_image.main(arguments)
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "error"), [("nowhere", "nowhere.tfvars:1: No such file"), ("local", "local is simulated")]
)
def test_environment_without_a_registry(capsys: pytest.CaptureFixture[str], name: str, error: str) -> None:
    assert push_image.main(["prediction", name]) == 1
    assert error in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message; no image file may have been written."""
    assert push_image.main(["prediction", "dev", *arguments]) == 1
    assert not [*environment.directory().glob("*.images.json")]
    return capsys.readouterr().err


def test_sources_that_are_not_committed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "services" / "prediction" / "new.py").write_text("")
    (checkout / "services" / "streaming" / "new.py").write_text("")
    error = refused(capsys)
    assert "commit them, or pass --allow-dirty" in error
    assert "services/prediction/new.py" in error
    assert "services/streaming/new.py" not in error, "not a source of this image"


def test_a_shallow_clone(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last commit that it has would be the tag of sources that an older one has changed."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, check=True).stdout
    (checkout / ".git" / "shallow").write_bytes(head)
    assert "this clone is shallow" in refused(capsys)


@pytest.mark.usefixtures("checkout")
def test_not_logged_in(registry: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    registry.add("gcloud", {"auth print-access-token": (1, "You do not currently have an active account")})
    error = refused(capsys)
    assert "not logged in: `gcloud auth login`" in error
    assert "You do not currently have an active account" in error


@pytest.mark.usefixtures("checkout", "registry")
def test_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert "install podman, or buildah with runc, or start docker's engine" in refused(capsys)


@pytest.mark.usefixtures("checkout")
def test_registry_that_denies(registry: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    registry.add("skopeo", {"inspect": (1, "denied: Permission artifactregistry.repositories.get denied")})
    assert "Permission artifactregistry.repositories.get denied" in refused(capsys)


def test_dockerfile_with_a_fault(checkout: Path, registry: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    registry.add("podman")
    (checkout / "services" / "Dockerfile").write_text("FROM python:latest\n")
    error = refused(capsys, "--allow-dirty")
    assert "DL3007" in error
    assert [call[1] for call in registry.calls() if call[0] == "podman"] == ["--version"], "nothing was built"


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("local", "dev", "local is simulated"),
        ("dev", "nowhere", "nowhere.tfvars:1: No such file"),
        ("dev", "staging", "dev has no image of prediction: run scripts/push_image.sh prediction dev"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_what_cannot_be_promoted(
    capsys: pytest.CaptureFixture[str], source: str, target: str, error: str
) -> None:
    assert promote.main(["prediction", source, target]) == 1
    assert error in capsys.readouterr().err


@pytest.mark.usefixtures("checkout")
def test_copy_that_is_another_image_is_not_written_down(
    registry: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    record_image("dev", "prediction", DIGEST, directory=environment.directory())
    registry.add("skopeo", {"inspect": (0, f"sha256:{'b' * 64}")})
    assert promote.main(["prediction", "dev", "staging"]) == 1
    assert "the copy is not the image" in capsys.readouterr().err
    assert not (environment.directory() / "staging.images.json").exists()


@pytest.mark.usefixtures("checkout")
def test_what_is_promoted_to_a_cluster_that_asks_for_a_signature_is_signed(registry: Tools) -> None:
    record_image("dev", "prediction", DIGEST, directory=environment.directory())
    registry.add("skopeo", {"inspect": (0, DIGEST)})
    version = "projects/p/locations/l/keyRings/r/cryptoKeys/signing/cryptoKeyVersions/1"
    answers = {
        "container binauthz attestations list": (0, "[]"),
        "container binauthz attestors describe": (0, '{"userOwnedGrafeasNote": {}}'),
        "kms keys versions list": (0, f'[{{"name": "{version}"}}]'),
    }
    registry.add("gcloud", {**answers, "beta container binauthz": (1, "Permission denied")})
    assert promote.main(["prediction", "dev", "staging"]) == 1
    assert not (environment.directory() / "staging.images.json").exists(), "the cluster would not admit it"
    registry.add("gcloud", answers)
    assert promote.main(["prediction", "dev", "staging"]) == 0
    signing = [call for call in registry.calls() if "sign-and-create" in call][-1]
    repository = "europe-west1-docker.pkg.dev/sales-forecast-staging/sales-forecast"
    assert f"--artifact-url={repository}/prediction@{DIGEST}" in signing


def test_the_dockerfile_copies_the_sources_of_an_image() -> None:
    """What decides on the tag, and on a rollout on this machine, is what the image is made of."""
    text = (push_image.ROOT / container_engine.DOCKERFILE).read_text()
    copied = set(re.findall(r"(?m)^COPY (services/\S+)", text)) - {"services/${SERVICE}/requirements.lock"}
    assert {*source_paths("${SERVICE}")} == copied | {"services/Dockerfile"}
