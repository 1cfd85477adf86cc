"""Every command of the documents' shell blocks is run or, if it needs a cloud or a platform, checked by kind.

`tests/newcomer` runs what needs a platform that is up.
"""

import argparse
import datetime
import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from unittest import mock

import httpx
import msgspec
import pytest

from infra import environment
from infra.environment import PLATFORM
from infra.google.composer import connection_secret
from infra.simulator.emulators import Endpoints
from services.contracts import names
from services.contracts.schema import bigquery_schema
from services.contracts.settings import BatchSettings, from_environment
from services.contracts.tables import Prediction
from tests.conftest import REPOSITORY, Models, Process, Service, service
from tests.docs.markdown import Command, commands

LOCAL = environment.load("local")
BATCH = REPOSITORY / "build" / "venvs" / "batch" / "bin" / "python"
CDKTF = REPOSITORY / "node_modules" / ".bin" / "cdktf"

COMMANDS = list(commands())
OF_MAKE = [each for each in COMMANDS if each.starts("make")]
OF_SOURCE = [each for each in COMMANDS if each.starts("source")]
OF_CURL = [each for each in COMMANDS if each.starts("curl")]
OF_CDKTF = [each for each in COMMANDS if each.starts("npx", "cdktf")]
OF_SCRIPTS = [each for each in COMMANDS if each.words[0].startswith("scripts/")]
OF_BATCH = [each for each in COMMANDS if each.starts(str(BATCH.relative_to(REPOSITORY)), "-m")]
OF_BEAM = [each for each in OF_BATCH if each.words[2] == "services.batch.score"]
OF_CLOUD = [each for each in COMMANDS if each.words[0] in ("gcloud", "kubectl")]


def test_every_command_is_tried() -> None:
    kinds = [OF_MAKE, OF_SOURCE, OF_CURL, OF_CDKTF, OF_SCRIPTS, OF_BATCH, OF_CLOUD]
    assert [each for each in COMMANDS if not any(each in kind for kind in kinds)] == []
    assert all(kinds)
    assert OF_BEAM


def test_secrets_to_fill_in_are_those_of_the_stack() -> None:
    secrets = [each for each in OF_CLOUD if each.starts("gcloud", "secrets", "versions", "add")]
    connections = ("smtp_default", "pagerduty_default")
    assert [each.words[4] for each in secrets] == [*map(connection_secret, connections)]


def test_gcloud_and_kubectl_are_pointed_to_what_the_stacks_make() -> None:
    rest = [each for each in OF_CLOUD if not each.starts("gcloud", "secrets")]
    assert [each for each in rest if PLATFORM not in each.words] == []


@pytest.mark.parametrize("command", OF_MAKE, ids=str)
def test_make_knows_what_to_do(command: Command) -> None:
    make = ["make", "--dry-run", "--no-print-directory", *command.words[1:]]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for variable in re.findall(r"\b([A-Z]+)=", f"{command.text} {command.comment}"):
        given = f"{variable}=given"
        done = subprocess.run([*make, given], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert "given" in done.stdout, f"make does not use {variable}"


class Stores(Models):
    """A model of the store that the commands ask for, and of another."""

    SERIES = (("France", "POSTAGE"), ("Spain", "POSTAGE"))


@pytest.fixture(scope="module")
def prediction(storage_emulator: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("prediction")
    models = Stores(storage_emulator.url, folder / "models")
    models.publish("v1")
    prediction = service("services.prediction", models.environment, folder / "log")
    prediction.start()
    yield prediction.wait_ready()
    prediction.kill()


@pytest.fixture(scope="module")
def pubsub(pubsub_emulator: Process) -> Process:
    """The Pub/Sub emulator with the topic of requests."""
    path = f"v1/projects/{LOCAL.project_id}/topics/{names.SALE_RANGE_TOPIC}"
    httpx.put(f"{pubsub_emulator.url}/{path}", json={}).raise_for_status()
    return pubsub_emulator


@pytest.fixture(scope="module")
def bigquery(bigquery_emulator: Process) -> Process:
    """The BigQuery emulator with one row of predictions."""
    datasets = f"{bigquery_emulator.url}/bigquery/v2/projects/{LOCAL.project_id}/datasets"
    table = f"{datasets}/{names.PREDICTIONS_DATASET}/tables"
    day, time = datetime.date(2011, 12, 9), datetime.datetime(2011, 12, 8, tzinfo=datetime.UTC)
    row = Prediction("one", "v1", day, "France", "POSTAGE", 2.0, 1.0, 3.0, time, time)
    for address, body in (
        (datasets, {"datasetReference": {"datasetId": names.PREDICTIONS_DATASET}}),
        (
            table,
            {
                "tableReference": {"tableId": names.PREDICTIONS_TABLE},
                "schema": {"fields": bigquery_schema(Prediction)},
            },
        ),
        (f"{table}/{names.PREDICTIONS_TABLE}/insertAll", {"rows": [{"json": msgspec.to_builtins(row)}]}),
    ):
        httpx.post(address, json=body).raise_for_status()
    return bigquery_emulator


@pytest.fixture(scope="module")
def platform(
    pubsub: Process, bigquery: Process, storage_emulator: Process, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder whose `.local/env` names the emulators, as `make up` leaves it."""
    endpoints = Endpoints(
        *(f"127.0.0.1:{each.port}" for each in (pubsub, bigquery, bigquery, storage_emulator))
    )
    file = tmp_path_factory.mktemp("platform") / ".local" / "env"
    file.parent.mkdir()
    file.write_text("".join(f"export {name}={value}\n" for name, value in endpoints.environment.items()))
    return file.parents[1]


@pytest.mark.parametrize("command", OF_SOURCE, ids=str)
def test_source_names_the_file_of_addresses(command: Command) -> None:
    assert command.words == ["source", ".local/env"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on PATH")
@pytest.mark.parametrize("command", OF_CURL, ids=str)
def test_curl_is_answered(command: Command, prediction: Service, platform: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{LOCAL.prediction.port}"
    text = command.text.replace(address, f"127.0.0.1:{prediction.port}")
    assert text != command.text or "_EMULATOR_HOST" in text
    text = text.replace("curl", "curl --fail --silent --show-error", 1)
    done = subprocess.run(
        ["bash", "-ec", f"source {platform}/.local/env; {text}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
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
        answer = json.loads(done.stdout)
        assert answer
        if "query" in text.split("-d ", 1)[-1]:
            assert len(answer["rows"]) == 1


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
    (room,) = {file.parent.name for file in script.parent.glob(f"*/{script.stem}.py")}
    call = accepted(f"scripts.{room}.{script.stem}", command.words)
    given = vars(call.given)
    named = {given[name] for name in ("environment", "source", "target") if name in given}
    assert named <= {*environment.names()}
    for option in re.findall(r"--[a-z-]+", command.comment):
        assert option in call.usage, f"{script.name} has no {option}"


@pytest.mark.parametrize("command", [each for each in OF_BATCH if each not in OF_BEAM], ids=str)
def test_batch_commands_take_their_settings_and_arguments(command: Command) -> None:
    from_environment(BatchSettings, command.variables)
    accepted(command.words[2], command.words[2:])


@pytest.mark.parametrize("command", OF_BEAM, ids=str)
def test_the_pipeline_takes_its_options(command: Command) -> None:
    if not BATCH.exists():
        pytest.skip(f"{BATCH} is absent: run `make install`")
    _, _, module, *options = command.words
    # Beam leaves out options that it does not know.
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


@pytest.mark.parametrize("command", OF_CDKTF, ids=str)
def test_cdktf_is_asked_for_stacks_that_exist(command: Command, stacks: list[str]) -> None:
    _, _, verb, *wanted = command.words
    assert verb in ("list", "diff", "deploy")
    named = [name for name in wanted if not name.startswith("--")]
    for name in named:
        assert fnmatch.filter(stacks, name), f"there is no stack {name}"
    assert len(named) == 1 or verb != "diff", "cdktf plans one stack"


@pytest.mark.slow
def test_cdktf_does_what_it_is_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a simulated cloud, except for a whole environment at once: that needs a model in between."""
    for program in (CDKTF, shutil.which("terraform")):
        if program is None or not Path(program).exists():
            pytest.skip("cdktf or terraform is absent: run `make install`")
    home = tmp_path_factory.mktemp("cloud")
    out = home / "out"
    simulated = {"PLATFORM_CLOUD": "simulated", "PLATFORM_ENV": "dev", "SIMULATOR_HOME": str(home)}
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
