"""Words of the commands in the documents' shell blocks, most of which need a cloud or take long.

`tests/newcomer` runs those that need a platform, `tests/batch` what those of the pipeline do, `tests/images`
those of images.
"""

import argparse
import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from unittest import mock

import pytest

from infra import environment
from infra.environment import PLATFORM
from infra.google.composer import connection_secret
from infra.google.project import AUDIT
from scripts import __main__ as scripts
from services.contracts import names
from tests.conftest import REPOSITORY, SIMULATOR
from tests.docs.markdown import ON_A_PLATFORM, Command, commands

BATCH = REPOSITORY / "build" / "venvs" / "batch" / "bin" / "python"
CDKTF = REPOSITORY / "node_modules" / ".bin" / "cdktf"

COMMANDS = list(commands())
OF_MAKE = [each for each in COMMANDS if each.starts("make")]
OF_SOURCE = [each for each in COMMANDS if each.starts("source")]
OF_PLATFORM = [each for each in COMMANDS if each.words[0] in ON_A_PLATFORM]
OF_CDKTF = [each for each in COMMANDS if each.starts("npx", "cdktf")]
OF_SCRIPTS = [each for each in COMMANDS if each.words[0].startswith("scripts/")]
OF_BEAM = [each for each in COMMANDS if any(word.startswith("--runner=") for word in each.words)]
OF_WHEEL = [
    each for each in COMMANDS if each.starts("python3", "-m", "pip", "wheel")
]  # tests/batch/test_wheel
OF_CLOUD = [each for each in COMMANDS if each.words[0] in ("gcloud", "kubectl")]
OF_DATA = [each for each in COMMANDS if each.words[0] == "bq" or each.starts("gcloud", "storage")]
OF_LOGS = [each for each in OF_CLOUD if each.starts("gcloud", "logging")]


def test_every_command_is_tried() -> None:
    kinds = [OF_MAKE, OF_SOURCE, OF_PLATFORM, OF_CDKTF, OF_SCRIPTS, OF_BEAM, OF_WHEEL, OF_CLOUD, OF_DATA]
    assert [each for each in COMMANDS if not any(each in kind for kind in kinds)] == []
    assert all(kinds)


def test_secrets_to_fill_in_are_those_of_the_stack() -> None:
    secrets = [each for each in OF_CLOUD if each.starts("gcloud", "secrets", "versions", "add")]
    connections = ("smtp_default", "pagerduty_default")
    assert [each.words[4] for each in secrets] == [*map(connection_secret, connections)]


def test_gcloud_and_kubectl_are_pointed_to_what_the_stacks_make() -> None:
    rest = [each for each in OF_CLOUD if not each.starts("gcloud", "secrets")]
    rest = [each for each in rest if each not in OF_DATA and each not in OF_LOGS]
    assert [each for each in rest if PLATFORM not in each.words] == []
    assert OF_LOGS
    assert all(f"--bucket={AUDIT}" in each.words for each in OF_LOGS)


def test_buckets_and_tables_to_restore_are_those_of_the_stacks() -> None:
    text = " ".join(each.text for each in OF_DATA)
    assert {*re.findall(r"gs://P-(\w+)/", text)} == {names.MODELS_BUCKET}
    sales = f"{names.SALES_DATASET}.{names.SALES_TABLE}"
    second = str(environment.load("prod").data.second_region).replace("-", "_")
    copy = f"{names.SALES_DATASET}_{second}"
    snapshot = f"{names.STAGING_DATASET}.sales_then"
    assert {*re.findall(r"\b[a-z]\w*\.\w+", text)} == {
        sales,
        snapshot,
        f"{copy}.{names.SALES_TABLE}",
        "current.json",
    }
    assert f"P:{copy}" in text


@pytest.mark.parametrize("command", OF_MAKE, ids=str)
def test_make_knows_what_to_do(command: Command) -> None:
    make = ["make", "--dry-run", "--no-print-directory", *command.words[1:]]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for variable in re.findall(r"\b([A-Z]+)=", f"{command.text} {command.comment}"):
        given = f"{variable}=given"
        done = subprocess.run([*make, given], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert "given" in done.stdout, f"make does not use {variable}"


@pytest.mark.parametrize("command", OF_SOURCE, ids=str)
def test_source_names_the_file_of_addresses(command: Command) -> None:
    assert command.words == ["source", ".local/env"]


class Accepted(BaseException):
    """Raised instead of what a command does, once it has accepted its arguments."""

    def __init__(self, given: argparse.Namespace, usage: str) -> None:
        super().__init__(given)
        self.given = given
        self.usage = usage


def accepted(module: str, words: Sequence[str]) -> Accepted:
    """Call a module's `main` up to where it has read its arguments."""
    parse = argparse.ArgumentParser.parse_args

    def accept(
        parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, namespace: None = None
    ) -> NoReturn:
        raise Accepted(parse(parser, arguments, namespace), parser.format_help())

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", accept),
        mock.patch.object(sys, "argv", words),
        pytest.raises(Accepted) as caught,
    ):
        importlib.import_module(module).main()
    return caught.value


@pytest.mark.parametrize("command", OF_SCRIPTS, ids=str)
def test_scripts_take_their_arguments(command: Command) -> None:
    script = REPOSITORY / command.words[0]
    assert script.resolve() == REPOSITORY / "scripts" / "run.sh"
    call = accepted(f"scripts.{scripts.COMMANDS[script.stem]}", command.words)
    given = vars(call.given)
    named = {given[name].name for name in ("source", "target") if name in given}
    assert named <= {*environment.names()}
    for option in re.findall(r"--[a-z-]+", command.comment):
        assert option in call.usage, f"{script.name} has no {option}"
    if script.name == "step":
        module = f"services.batch.{given['module']}"
        accepted(module, [module, *given["arguments"]])


@pytest.mark.parametrize("module", sorted({each.words[each.words.index("-m") + 1] for each in OF_BEAM}))
def test_the_pipeline_takes_its_options(module: str) -> None:
    if not BATCH.exists():
        pytest.skip(f"{BATCH} is absent: run `make install`")
    calls = [each.words[each.words.index(module) + 1 :] for each in OF_BEAM if module in each.words]
    # Beam leaves out options that it does not know.
    known = (
        f"import json, sys, {module}; from apache_beam.options.pipeline_options import PipelineOptions;"
        "print(json.dumps([sorted(PipelineOptions(call).get_all_options(drop_default=True))"
        " for call in json.loads(sys.argv[1])]))"
    )
    done = subprocess.run(
        [BATCH, "-c", known, json.dumps(calls)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [
        sorted(option.removeprefix("--").partition("=")[0] for option in options) for options in calls
    ]


@pytest.fixture(scope="module")
def stacks() -> list[str]:
    """Ids of the stacks of all environments."""
    return [f"{each.name}-{stack}" for each in environment.load_all() for stack in each.stacks]


@pytest.mark.parametrize("command", OF_CDKTF, ids=str)
def test_cdktf_is_asked_for_stacks_that_exist(command: Command, stacks: list[str]) -> None:
    _, _, verb, *wanted = command.words
    assert verb in ("list", "diff", "deploy")
    named = [name for name in wanted if not name.startswith("--")]
    for name in named:
        assert fnmatch.filter(stacks, name), f"there is no stack {name}"
    assert len(named) == 1 or verb != "diff", "cdktf plans one stack"


@pytest.mark.slow
def test_cdktf_does_what_it_is_asked(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """In a simulated cloud, except for a whole environment at once: that needs a model in between."""
    for program in (CDKTF, shutil.which("terraform")):
        if program is None or not Path(program).exists():
            pytest.skip("cdktf or terraform is absent: run `make install`")
    home = tmp_path_factory.mktemp("cloud")
    out = home / "out"
    simulated = {"PLATFORM_CLOUD": "simulated", "PLATFORM_ENV": "dev", "SIMULATOR_HOME": str(home)}
    down = (SIMULATOR / "bin" / "python", "-m", "infra.simulator", "down")
    request.addfinalizer(lambda: subprocess.run(down, cwd=REPOSITORY, env=os.environ | simulated, check=True))
    wanted = {each.text: each for each in OF_CDKTF if "dev-" in each.text and "*" not in each.text}
    assert {each.words[2] for each in wanted.values()} == {"deploy", "diff"}
    # The documents are no script: the network comes before what is in it.
    for command in sorted(wanted.values(), key=lambda each: "dev-foundation" not in each.words):
        verb, *rest = command.words[2:]
        more = ["--auto-approve"] if verb == "deploy" else []
        done = subprocess.run(
            [CDKTF, verb, *rest, *more, "--output", out],
            cwd=REPOSITORY,
            env=os.environ | simulated | command.variables | {"CI": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
