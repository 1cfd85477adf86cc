"""The app that cdktf runs: which stacks there are, and how a wrong environment is refused."""

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from infra import environment
from infra.environment import UPSTREAM
from infra.environment.files import DIRECTORY
from tests.stacks.synthesized import ROOT, Synthesis, synthesize


def test_every_stack_of_every_environment(synthesis: Synthesis) -> None:
    expected = {f"{each.name}-{stack}" for each in environment.load_all() for stack in each.stacks}
    assert {stack.id for stack in synthesis.stacks} == expected
    assert len(expected) >= 8 + 7 + 8 + 8


def test_stacks_wait_for_their_upstream(synthesis: Synthesis) -> None:
    for id_, waits_for in synthesis.dependencies.items():
        name, _, stack = id_.partition("-")
        assert set(waits_for) == {f"{name}-{each}" for each in UPSTREAM[stack]}  # pyright: ignore[reportArgumentType]


def test_cdktf_lists_them_all(synthesis: Synthesis) -> None:
    cdktf = ROOT / "node_modules" / ".bin" / "cdktf"
    if not cdktf.exists():
        pytest.skip("cdktf-cli is not installed: run `make install`")
    with tempfile.TemporaryDirectory() as folder:  # a short path, for cdktf breaks long ones
        command = [str(cdktf), "list", "--output", folder]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines() if "/stacks/" in line] == [
        stack.id for stack in synthesis.stacks
    ]


def test_one_environment_synthesizes_the_same_alone(tmp_path: Path, synthesis: Synthesis) -> None:
    assert synthesize(tmp_path, PLATFORM_ENV="prod").returncode == 0
    alone = Synthesis(tmp_path / "out")
    assert {stack.id.partition("-")[0] for stack in alone.stacks} == {"prod"}
    for stack in alone.stacks:
        file = Path("stacks", stack.id, "cdk.tf.json")
        assert (alone.folder / file).read_bytes() == (synthesis.folder / file).read_bytes()


def test_any_environment_can_be_simulated(tmp_path: Path) -> None:
    assert synthesize(tmp_path, PLATFORM_ENV="prod", PLATFORM_CLOUD="simulated").returncode == 0
    for stack in Synthesis(tmp_path / "out").stacks:
        terraform = stack.content["terraform"]
        sources = {each["source"] for each in terraform["required_providers"].values()}
        assert sources <= {"localhost/simulated/google", "localhost/simulated/kubernetes"}
        path = str(tmp_path / "home" / "terraform" / f"{stack.id}.tfstate")
        assert terraform["backend"] == {"local": {"path": path}}
        assert list((tmp_path / "out" / "stacks" / stack.id / "terraform.d").rglob("terraform-provider-*"))


def test_environments_of_another_folder(tmp_path: Path) -> None:
    files = tmp_path / "environments"
    files.mkdir()
    text = (DIRECTORY / "dev.tfvars").read_text()
    (files / "mine.tfvars").write_text(text.replace("sales-forecast-dev", "somebody-elses"))
    digest = f"sha256:{'ab' * 32}"
    (files / "mine.images.json").write_text(f'{{"streaming": "{digest}"}}')
    run = synthesize(tmp_path, PLATFORM_ENVIRONMENTS=str(files))
    assert run.returncode == 0, run.stderr
    synthesis = Synthesis(tmp_path / "out")
    assert {stack.id.partition("-")[0] for stack in synthesis.stacks} == {"mine"}
    services = synthesis.stack("mine-services")
    assert set(services.content["variable"]) == {"batch_digest", "prediction_digest"}
    pod = services.one("kubernetes_deployment_v1", metadata={"name": "streaming"})["spec"]["template"]["spec"]
    assert pod["container"][0]["image"].endswith(f"/sales-forecast/streaming@{digest}")


def test_faults_stop_everything(tmp_path: Path) -> None:
    files = tmp_path / "environments"
    files.mkdir()
    text = (DIRECTORY / "dev.tfvars").read_text()
    (files / "one.tfvars").write_text(text.replace("memory ", "memor ", 1))
    (files / "two.tfvars").write_text(text.replace('"messaging",', ""))
    run = synthesize(tmp_path, PLATFORM_ENVIRONMENTS=str(files))
    assert run.returncode == 2
    assert [re.sub(r":\d+:", ":", line) for line in run.stderr.splitlines()] == [
        (
            f"{files}/one.tfvars: prediction.memory: missing; "
            "expected memory that a pod requests, which is its limit, too"
        ),
        f"{files}/one.tfvars: prediction.memor: unknown key; did you mean memory?",
        f"{files}/two.tfvars: stacks.4: services needs the stack messaging, which is not listed",
        f"{files}/two.tfvars: stacks.5: observability needs the stack messaging, which is not listed",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PLATFORM_ENV", "prd", "did you mean prod?"),
        ("PLATFORM_CLOUD", "aws", "PLATFORM_CLOUD: expected google or simulated, found aws"),
        ("PLATFORM_ENVIRONMENTS", "/nowhere", "/nowhere:1: no environment"),
    ],
)
def test_a_wrong_variable(tmp_path: Path, variable: str, value: str, message: str) -> None:
    run = synthesize(tmp_path, **{variable: value})
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr
