"""A state that Terraform could not save is in a file beside the configuration: nobody deletes it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from scripts.deployment import apply, first_model, plans, terraform
from scripts.deployment.terraform import Synthesis

STACK = "dev-services"


class NoState(BaseHTTPRequestHandler):
    """A backend that has no state, and saves none."""

    def do_GET(self) -> None:
        self._answer(404)

    def do_POST(self) -> None:
        self._answer(403)

    def _answer(self, status: int) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a stack of one resource is synthesized, whose backend saves nothing."""
    monkeypatch.setenv("PLATFORM_CLOUD", "simulated")
    monkeypatch.setenv("SIMULATOR_HOME", str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoState)
    backend = {"address": f"http://127.0.0.1:{server.server_port}/", "retry_max": 0}
    configuration = {
        "terraform": {"required_providers": {}, "backend": {"http": backend}},
        "resource": {"terraform_data": {"job": {"input": "trained"}}},
        "provider": {"terraform": {}},
    }

    def synthesize(environment: str, folder: Path) -> Synthesis:
        stack = folder / "stacks" / STACK / "cdk.tf.json"
        stack.parent.mkdir(parents=True)
        stack.write_text(json.dumps(configuration))
        (folder / "manifest.json").write_text(json.dumps({"stacks": {STACK: {"dependencies": []}}}))
        return terraform.synthesized(environment, folder)

    monkeypatch.setattr(terraform, "synthesize", synthesize)
    monkeypatch.setattr(terraform, "OUT", tmp_path / "cdktf.out")
    threading.Thread(target=server.serve_forever).start()
    yield terraform.OUT
    server.shutdown()
    server.server_close()


def unsaved(out: Path) -> list[str]:
    """Resources of the state that was not saved."""
    state = json.loads((out / "stacks" / STACK / "errored.tfstate").read_bytes())
    return [f"{each['type']}.{each['name']}" for each in state["resources"]]


def test_of_what_was_approved(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthesis = terraform.synthesize("dev", tmp_path / "planned")
    [approved] = plans.plan(synthesis, synthesis.stacks)
    diff = tmp_path / "diff.json"
    diff.write_text(json.dumps({"environment": "dev", "stacks": [msgspec.to_builtins(approved)]}))
    assert apply.main(["dev", str(diff)]) == 1
    assert unsaved(out) == ["terraform_data.job"]
    assert f"to repeat it: scripts/apply dev {diff}\n" in capsys.readouterr().err
    assert list(out.glob("*.plan")) == []  # it may have secrets


def test_of_the_first_model(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_model, "_JOB", "terraform_data.job")
    assert first_model.main(["dev"]) == 1
    assert unsaved(out) == ["terraform_data.job"]
    assert "errored.tfstate" in capsys.readouterr().err
