"""The README's examples: every command of its fenced blocks is run, or at least taken by what it is for.

What needs a platform that is up is run by `test_newcomer.py`, what needs Google Cloud by nobody here.
"""

import argparse
import dataclasses
import fnmatch
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from unittest import mock

import httpx
import pytest

from infra import environment
from infra.google.composer import connection_secret
from tests.conftest import REPOSITORY, Models, Process, Service, service

LOCAL = environment.load("local")
BATCH = REPOSITORY / "build" / "venvs" / "batch" / "bin" / "python"
CDKTF = REPOSITORY / "node_modules" / ".bin" / "cdktf"


@dataclasses.dataclass(frozen=True)
class Example:
    """A command as the README has it.

    Attributes:
        text: for a shell.
        comment: what stands beside it.
    """

    text: str
    comment: str

    def __str__(self) -> str:
        return self.text

    @property
    def variables(self) -> dict[str, str]:
        """That are set before the command."""
        return dict(word.split("=", 1) for word in self._split()[0])

    @property
    def words(self) -> list[str]:
        return self._split()[1]

    def _split(self) -> tuple[list[str], list[str]]:
        words = shlex.split(self.text)
        start = next(index for index, word in enumerate(words) if not re.fullmatch(r"[A-Z_]+=.*", word))
        return words[:start], words[start:]

    def starts(self, *words: str) -> bool:
        return self.words[: len(words)] == list(words)


def examples() -> Iterator[Example]:
    text = (REPOSITORY / "README.md").read_text()
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command, _, comment = line.partition(" # ")
            yield Example(command.strip(), comment.strip())


EXAMPLES = list(examples())
OF_MAKE = [each for each in EXAMPLES if each.starts("make")]
OF_CURL = [each for each in EXAMPLES if each.starts("curl")]
OF_CDKTF = [each for each in EXAMPLES if each.starts("npx", "cdktf")]
OF_SCRIPTS = [each for each in EXAMPLES if each.words[0].startswith("scripts/")]
OF_SCORE = [each for each in EXAMPLES if each.starts(str(BATCH.relative_to(REPOSITORY)))]
OF_SECRETS = [each for each in EXAMPLES if each.starts("gcloud", "secrets", "versions", "add")]


def test_every_example_is_tried() -> None:
    kinds = [OF_MAKE, OF_CURL, OF_CDKTF, OF_SCRIPTS, OF_SCORE, OF_SECRETS]
    assert [each for each in EXAMPLES if not any(each in kind for kind in kinds)] == []
    assert all(kinds)


def test_secrets_to_fill_in_are_those_of_the_stack() -> None:
    connections = ("smtp_default", "pagerduty_default")
    assert [each.words[4] for each in OF_SECRETS] == [*map(connection_secret, connections)]


@pytest.mark.parametrize("example", OF_MAKE, ids=str)
def test_make_knows_what_to_do(example: Example) -> None:
    command = ["make", "--dry-run", "--no-print-directory", *example.words[1:]]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for variable in re.findall(r"\b([A-Z]+)=", f"{example.text} {example.comment}"):
        given = f"{variable}=given"
        done = subprocess.run([*command, given], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert "given" in done.stdout, f"make does not ask for {variable}"


class Markets(Models):
    """A model of a market that the examples ask for, and of another."""

    SERIES = (("France", "POSTAGE"), ("Spain", "POSTAGE"))


@pytest.fixture(scope="module")
def prediction(storage_emulator: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("prediction")
    models = Markets(storage_emulator.url, folder / "models")
    models.publish("v1")
    prediction = service("services.prediction", models.environment, folder / "log")
    prediction.start()
    yield prediction.wait_ready()
    prediction.kill()


@pytest.fixture(scope="module")
def pubsub(pubsub_emulator: Process) -> Process:
    path = f"v1/projects/{LOCAL.project_id}/topics/sale-range"
    httpx.put(f"{pubsub_emulator.url}/{path}", json={}).raise_for_status()
    return pubsub_emulator


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on PATH")
@pytest.mark.parametrize("example", OF_CURL, ids=str)
def test_curl_is_answered(example: Example, prediction: Service, pubsub: Process, tmp_path: Path) -> None:
    address = f"127.0.0.1:{LOCAL.prediction.port}"
    command = example.text.replace(address, f"127.0.0.1:{prediction.port}")
    assert command != example.text or "$PUBSUB_EMULATOR_HOST" in command
    done = subprocess.run(
        ["bash", "-c", command.replace("curl", "curl --fail --silent --show-error", 1)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.port}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = list(tmp_path.iterdir())
    if files:  # -O
        (file,) = files
        assert len(file.read_text().splitlines()) == 1 + 28
    else:
        assert json.loads(done.stdout)


class Accepted(BaseException):
    """Raised once a command has taken its arguments, in place of what it would do with them."""

    def __init__(self, given: argparse.Namespace, usage: str) -> None:
        super().__init__(given)
        self.given = given
        self.usage = usage


@pytest.mark.parametrize("example", OF_SCRIPTS, ids=str)
def test_scripts_take_their_arguments(example: Example) -> None:
    script = REPOSITORY / example.words[0]
    assert script.resolve() == REPOSITORY / "scripts" / "run.sh"
    (room,) = {file.parent.name for file in script.parent.glob(f"*/{script.stem}.py")}
    module = importlib.import_module(f"scripts.{room}.{script.stem}")
    parse = argparse.ArgumentParser.parse_args

    def accept(
        parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, namespace: None = None
    ) -> NoReturn:
        raise Accepted(parse(parser, arguments, namespace), parser.format_help())

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", accept),
        mock.patch.object(sys, "argv", example.words),
        pytest.raises(Accepted) as accepted,
    ):
        module.main()
    given = vars(accepted.value.given)
    assert {given[name] for name in ("environment", "source", "target") if name in given} <= {
        *environment.names()
    }
    for option in re.findall(r"--[a-z-]+", example.comment):
        assert option in accepted.value.usage, f"{script.name} has no {option}"


@pytest.mark.parametrize("example", OF_SCORE, ids=str)
def test_the_pipeline_takes_its_options(example: Example) -> None:
    if not BATCH.exists():
        pytest.skip(f"{BATCH} is absent: run `make install`")
    _, _, module, *options = example.words
    # Beam leaves out what it does not know.
    known = (
        f"import json, sys, {module}; from apache_beam.options.pipeline_options import PipelineOptions;"
        "print(json.dumps(sorted(PipelineOptions(sys.argv[1:]).get_all_options(drop_default=True))))"
    )
    done = subprocess.run(
        [BATCH, "-c", known, *options], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == sorted(
        option.removeprefix("--").partition("=")[0] for option in options
    )


@pytest.fixture(scope="module")
def stacks() -> list[str]:
    """Ids of the stacks of all environments."""
    return [f"{each.name}-{stack}" for each in environment.load_all() for stack in each.stacks]


@pytest.mark.parametrize("example", OF_CDKTF, ids=str)
def test_cdktf_is_asked_for_stacks_that_there_are(example: Example, stacks: list[str]) -> None:
    _, _, verb, *wanted = example.words
    assert verb in ("list", "diff", "deploy")
    names = [name for name in wanted if not name.startswith("--")]
    for name in names:
        assert fnmatch.filter(stacks, name), f"there is no stack {name}"
    assert len(names) == 1 or verb != "diff", "cdktf plans one stack"


@pytest.mark.slow
def test_cdktf_does_what_it_is_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a simulated cloud, but for all of an environment at once: that takes a model in the middle."""
    for program in (CDKTF, shutil.which("terraform")):
        if program is None or not Path(program).exists():
            pytest.skip("cdktf or terraform is absent: run `make install`")
    home = tmp_path_factory.mktemp("cloud")
    out = home / "out"
    simulated = {"PLATFORM_CLOUD": "simulated", "PLATFORM_ENV": "dev", "SIMULATOR_HOME": str(home)}
    wanted = [each for each in OF_CDKTF if "dev-" in each.text and "*" not in each.text]
    assert {each.words[2] for each in wanted} == {"deploy", "diff"}
    # As a whole the README is no script: the network comes before what is in it.
    for example in sorted(wanted, key=lambda each: "dev-foundation" not in each.words):
        verb, *rest = example.words[2:]
        more = ["--auto-approve"] if verb == "deploy" else []
        done = subprocess.run(
            [CDKTF, verb, *rest, *more, "--output", out],
            cwd=REPOSITORY,
            env=os.environ | simulated | example.variables | {"CI": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{example}: {done.stdout}{done.stderr}"
