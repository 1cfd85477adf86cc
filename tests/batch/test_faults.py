"""Servers that do not answer, or answer wrongly: a step ends in time, with 75 where another try may help."""

import datetime
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from google.cloud import bigquery

from services.batch.warehouse import SalesTable
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Sale
from tests.batch.conftest import Warehouse
from tests.batch.relay import Fault, altered, cut, passed_on, refusal, relay, reset, swallow
from tests.batch.sales import small_sales
from tests.conftest import REPOSITORY, Models

SERVERS: Final = ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
LAST: Final = datetime.date(2024, 6, 30)
_SIDE_BY_SIDE: Final = 24  # they mostly wait
_LIMIT_SECONDS: Final = 45
"""Since the first fault, in a hurry: 90 s of a real step are 22, and a busy machine takes its time."""

# The arguments and variables of a run; each run is told its number, so that none meets what another one did.
Case = Callable[[int], tuple[list[str], Mapping[str, str]]]


class Steps:
    """Runs steps through relays."""

    def __init__(self, python: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in warehouse.environment.items():
            monkeypatch.setenv(name, value)
        self._python = python
        # The client's telemetry asks for the bucket, now and then.
        quiet = {"DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1"}
        self._environment = {**os.environ, **warehouse.environment, **quiet}

    def run(
        self,
        module: str,
        case: tuple[list[str], Mapping[str, str]],
        fault: Fault = passed_on,
        spoiled: str = SERVERS[0],
        first: int = 1,
    ) -> tuple[int, str, dict[str, int], float]:
        """A run: exit status, what it printed, requests by server, seconds since the first fault."""
        arguments, variables = case
        # Without a fault nothing is waited for, and a busy emulator may take its time.
        hurry = [] if fault is passed_on else ["tests.batch.hasty_step"]
        with (
            relay(self._environment[SERVERS[0]], fault if spoiled == SERVERS[0] else passed_on, first) as one,
            relay(self._environment[SERVERS[1]], fault if spoiled == SERVERS[1] else passed_on, first) as two,
        ):
            done = subprocess.run(
                [self._python, "-m", *hurry, f"services.batch.{module}", *arguments],
                cwd=REPOSITORY,
                env={**self._environment, **variables, SERVERS[0]: one.url, SERVERS[1]: two.url},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            waited = time.monotonic() - (one if spoiled == SERVERS[0] else two).spoiled_at
            requests = {SERVERS[0]: len(one.requests), SERVERS[1]: len(two.requests)}
        return done.returncode, done.stdout, requests, waited


@pytest.fixture
def steps(steps_python: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(steps_python, warehouse, monkeypatch)


@pytest.fixture
def cases(steps: Steps, warehouse: Warehouse, tmp_path: Path) -> dict[str, Case]:
    """Every step that calls BigQuery or Cloud Storage in a way of its own."""
    sales = small_sales(LAST, 220)
    SalesTable(warehouse.table).replace(sales)
    sales.write_csv(tmp_path / "sales.csv")
    snapshot = steps.run("extract", (["--run-date=2024-07-01"], {}))[1]
    address = json.loads(snapshot)["snapshot"]
    dataset = warehouse.table.rsplit(".", 1)[0]
    schema = [bigquery.SchemaField.from_api_repr(column) for column in bigquery_schema(Sale)]
    warehouse.models.publish("v1")
    warehouse.models.upload("v2")

    def table(number: int) -> dict[str, str]:
        name = f"{dataset}.sales_{number}"
        warehouse.client.create_table(bigquery.Table(name, schema=schema), exists_ok=True)
        return {"SALES_TABLE": name}

    def day(number: int) -> str:
        return str(Models.FIRST + datetime.timedelta(days=number))

    return {
        "check_day": lambda number: (["--run-date=2024-07-01"], {}),
        "ingest": lambda number: ([f"--file={tmp_path}/sales.csv"], table(number)),
        "extract": lambda number: (["--run-date=2024-07-01"], {}),
        "train": lambda number: (
            [f"--snapshot={address}", f"--model={'theta' if number else 'croston'}"],
            {},
        ),
        "publish_model": lambda number: ([f"--version={'v1' if number else 'v2'}"], {}),
        "score": lambda number: (
            [
                *("--runner=DirectRunner", "--no_auth", "--horizon=1", "--model_version=v1"),
                *("--query=SELECT '1' AS store_nbr UNION ALL SELECT '2'", "--model_project=test"),
                f"--model_bucket={warehouse.models.bucket_name}",
                f"--run_date={day(number)}",
                f"--output=gs://{warehouse.models.bucket_name}/runs/{number}",
                f"--table={warehouse.environment['SCORES_TABLE']}",
                f"--staging_dataset={warehouse.environment['STAGING_DATASET']}",
            ],
            {},
        ),
        "check_scores": lambda number: ([f"--run-date={day(0)}", "--horizon=1", "--version=v1"], {}),
        "transient": lambda number: (
            [f"--run-date={LAST - datetime.timedelta(days=number)}", "--model=theta", "--horizon=1"],
            {},
        ),
    }


@pytest.mark.slow
def test_no_request_is_waited_for_for_ever(steps: Steps, cases: dict[str, Case]) -> None:
    """From each request of each step on, nothing is answered any more."""
    runs: list[tuple[str, str, int]] = []
    for module, case in cases.items():
        status, printed, requests, _ = steps.run(module, case(0))
        assert status == 0, f"{module}: {printed}"
        for server, count in requests.items():
            runs += [(module, server, first) for first in range(1, count + 1)]
    # Beam's own client of Cloud Storage waits as long as it likes; the launcher reads the model first.
    runs = [run for run in runs if run[:2] != ("score", SERVERS[1])]
    assert len(runs) > 30

    def swallowed(run: tuple[str, str, int]) -> str:
        module, server, first = run
        case = cases[module](first + 20 * SERVERS.index(server))
        status, printed, _, seconds = steps.run(module, case, swallow, server, first)
        right = status == 75 and seconds < _LIMIT_SECONDS
        return "" if right else f"{run}: {status} after {seconds:.0f} s: {printed}"

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        assert [wrong for wrong in pool.map(swallowed, runs) if wrong] == []


BIGQUERY_FAULTS: Final = {
    "reset": (reset, 75),
    "cut": (cut, 75),
    "503": (refusal(503, "backendError"), 75),
    "429": (refusal(429, "tooManyRequests"), 75),
    "403 rateLimitExceeded": (refusal(403, "rateLimitExceeded"), 75),
    "403 accessDenied": (refusal(403, "accessDenied"), 1),
    "404": (refusal(404, "notFound"), 1),
    "400": (refusal(400, "invalidQuery"), 1),
}
STORAGE_FAULTS: Final = {
    "reset": (reset, 75),
    "cut": (cut, 75),
    "altered": (altered, 75),
    "503": (refusal(503, "backendError"), 75),
    "429": (refusal(429, "rateLimitExceeded"), 75),
    "403": (refusal(403, "forbidden"), 1),
    "404": (refusal(404, "notFound"), 1),
}


@pytest.mark.slow
def test_each_error_is_final_or_temporary(steps: Steps, cases: dict[str, Case]) -> None:
    """For a person an error is one line, and Airflow tries again only where that may help."""
    runs = [("check_day", SERVERS[0], name, *fault) for name, fault in BIGQUERY_FAULTS.items()]
    runs += [("train", SERVERS[1], name, *fault) for name, fault in STORAGE_FAULTS.items()]

    def spoiled(run: tuple[str, str, str, Fault, int]) -> str:
        module, server, name, fault, expected = run
        status, printed, _, seconds = steps.run(module, cases[module](1), fault, server)
        right = status == expected and printed.startswith(f"{module}: ") and printed.count("Traceback") == 0
        right = right and seconds < _LIMIT_SECONDS
        return "" if right else f"{module}, {name}: {status} after {seconds:.0f} s: {printed}"

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        assert [wrong for wrong in pool.map(spoiled, runs) if wrong] == []
