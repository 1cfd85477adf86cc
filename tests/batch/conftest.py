"""A sales table and a model bucket of a test's own, in the emulators, and a fast way to run steps."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.api_core.retry import retry_unary
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.contracts.schema import bigquery_schema
from services.contracts.settings import BatchSettings, to_environment
from services.contracts.tables import Sale, Score
from services.forecasting.model_registry import ModelRegistry
from tests.batch import fork_server
from tests.batch.hasty_step import hasty_retries
from tests.conftest import REPOSITORY, Models, Process, wait_for


@dataclasses.dataclass
class Warehouse:
    """Where the batch commands read and write.

    Attributes:
        environment: env variables of the commands.
        table: the sales table.
        client: of BigQuery.
        models: the model bucket.
    """

    environment: dict[str, str]
    table: str
    client: bigquery.Client
    models: Models

    @property
    def registry(self) -> ModelRegistry:
        return self.models.registry

    def rows(self) -> list[tuple[Any, ...]]:
        """Everything in the sales table, sorted."""
        return sorted((row.values() for row in self.client.list_rows(self.table)), key=str)


@pytest.fixture
def warehouse(bigquery_emulator: Process, models: Models) -> Warehouse:
    """An empty sales table and an empty bucket."""
    client = bigquery.Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": bigquery_emulator.url},
    )
    dataset = f"sales_{uuid.uuid4().hex[:12]}"
    client.create_dataset(dataset)
    table = f"test.{dataset}.sales"
    for name, row in ("sales", Sale), ("scores", Score), ("transient_scores", Score):
        schema = [bigquery.SchemaField.from_api_repr(column) for column in bigquery_schema(row)]
        client.create_table(bigquery.Table(f"test.{dataset}.{name}", schema=schema))
    settings = BatchSettings(
        model_bucket=models.bucket_name,
        staging_bucket=models.bucket_name,
        sales_table=table,
        scores_table=f"test.{dataset}.scores",
        transient_scores_table=f"test.{dataset}.transient_scores",
        staging_dataset=f"test.{dataset}",
    )
    environment = to_environment(settings) | {
        "BIGQUERY_EMULATOR_HOST": bigquery_emulator.url,
        "STORAGE_EMULATOR_HOST": models.url,
    }
    return Warehouse(environment, table, client, models)


def amend(models: Models, version: str, *, mase: float, **changes: Any) -> None:
    """Let the manifest of an uploaded version claim an error on every level, and other things."""
    blob = models.bucket.blob(f"sales/{version}/manifest.json")
    manifest = models.registry.manifest(version)
    scores = {
        level: msgspec.structs.replace(score, mase=mase) for level, score in manifest.backtest.model.items()
    }
    backtest = msgspec.structs.replace(manifest.backtest, model=scores)
    blob.upload_from_string(
        msgspec.json.encode(msgspec.structs.replace(manifest, backtest=backtest, **changes))
    )


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command's main; its line of JSON, or where it `fails` with a status {"error": its message}."""
    for name, value in warehouse.environment.items():
        monkeypatch.setenv(name, value)

    def run(main: Callable[[list[str]], int], *arguments: object, fails: int = 0) -> dict[str, Any]:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (status, bool(out), bool(err)) == (fails, not fails, bool(fails)), out + err
        return {"error": err} if fails else json.loads(out)

    return run


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands try calls of Google's clients again for a twentieth of the time."""
    monkeypatch.setattr(retry_unary, "retry_target", hasty_retries(20))


@contextlib.contextmanager
def forks(interpreter: Path, module: str, **variables: str) -> Generator[str]:
    """Forks of an interpreter that has imported a module; yields the address of their `fork_server`."""
    # The path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        server = subprocess.Popen(
            [interpreter, "-m", "tests.batch.fork_server", address, module],
            cwd=REPOSITORY,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        try:
            wait_for("the fork server listens", lambda: Path(address).exists() or server.poll() is not None)
            assert server.poll() is None
            yield address
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="session")
def step_forks() -> Iterator[str]:
    """Forks of a process that has imported what steps do; see `fork_server`."""
    python = REPOSITORY / "build" / "venvs" / "batch" / "bin" / "python"
    with forks(python, "tests.batch.warm_steps") as address:
        yield address


@pytest.fixture(scope="session")
def steps_python(step_forks: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stand-in for the interpreter of the steps that does not import Beam and the rest for each."""
    client = tmp_path_factory.mktemp("steps") / "python"
    fork_server.write_client(client, step_forks)
    return str(client)
