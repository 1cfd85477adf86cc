"""Servers that do not answer, or answer wrongly: a step ends in time, with 75 where another try may help."""

import datetime
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from google.cloud import bigquery

from services.batch.warehouse import SalesTable
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Sale, Score
from tests.batch import fork_server
from tests.batch.conftest import Warehouse
from tests.batch.relay import (
    Fault,
    Relay,
    altered,
    cut,
    failed_job,
    passed_on,
    refusal,
    relay,
    reset,
    swallow,
)
from tests.batch.sales import small_sales
from tests.conftest import REPOSITORY, Models

SERVERS: Final = ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
LAST: Final = datetime.date(2024, 6, 30)
_SIDE_BY_SIDE: Final = 24  # they mostly wait
_LIMIT_SECONDS: Final = 90
"""Most that a step may wait for answers that do not come, before it says so."""
_HURRY: Final = ("20", "20")
_HURRY_TO_TRY: Final = ("1", "20")
"""What the time for an answer, and for trying again, are divided by: see `hasty_step`."""

# The arguments and variables of a run; each run is told its number, so that none meets what another one did.
Case = Callable[[int], tuple[list[str], Mapping[str, str]]]


@dataclass(frozen=True)
class Ran:
    """What a step did.

    Attributes:
        status: its exit status.
        printed: its output.
        requests: by server; see `Relay`.
        waited: seconds that it would wait for an answer to those that were spoiled, one after the other.
    """

    status: int
    printed: str
    requests: dict[str, list[str]]
    waited: float


class Steps:
    """Runs steps through relays."""

    def __init__(
        self, forks: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        for name, value in warehouse.environment.items():
            monkeypatch.setenv(name, value)
        self._forks = forks
        self._folder = folder
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
    ) -> Ran:
        """A run, where a fault spoils the requests to a server from number `first` on."""
        arguments, variables = case
        times = self._folder / f"{uuid.uuid4().hex}.jsonl"
        # Where a server answers nothing is waited for, and a busy emulator may take its time.
        hurry = _HURRY if fault is swallow else _HURRY_TO_TRY
        with (
            relay(self._environment[SERVERS[0]], fault if spoiled == SERVERS[0] else passed_on, first) as one,
            relay(self._environment[SERVERS[1]], fault if spoiled == SERVERS[1] else passed_on, first) as two,
        ):
            relays: dict[str, Relay] = {SERVERS[0]: one, SERVERS[1]: two}
            port = str(relays[spoiled].server_address[1])
            hasty = ("-m", "tests.batch.hasty_step", str(times), *hurry, port, str(first))
            words = [*hasty, f"services.batch.{module}", *arguments]
            environment = {**self._environment, **variables, SERVERS[0]: one.url, SERVERS[1]: two.url}
            with tempfile.TemporaryFile("w+") as out:
                outputs = (out.fileno(), out.fileno())
                status = fork_server.call(self._forks, words, environment, str(REPOSITORY), *outputs)
                out.seek(0)
                printed = out.read()
        told = [json.loads(line) for line in times.read_text().splitlines()]
        waits = [seconds for port, seconds in told if port == relays[spoiled].server_address[1]]
        requests = {server: each.requests for server, each in relays.items()}
        return Ran(status, printed, requests, sum(waits[first - 1 :]))


@pytest.fixture
def steps(step_forks: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    return Steps(step_forks, warehouse, monkeypatch, tmp_path)


@pytest.fixture
def cases(steps: Steps, warehouse: Warehouse, tmp_path: Path) -> dict[str, Case]:
    """Every step that calls BigQuery or Cloud Storage in a way of its own."""
    sales = small_sales(LAST, 220)
    SalesTable(warehouse.table).replace(sales)
    sales.write_csv(tmp_path / "sales.csv")
    snapshot = steps.run("extract", (["--run-date=2024-07-01"], {})).printed
    address = json.loads(snapshot)["snapshot"]
    dataset = warehouse.table.rsplit(".", 1)[0]
    warehouse.models.publish("v1")
    warehouse.models.upload("v2")

    def own(variable: str, row: type, number: int) -> dict[str, str]:
        """A table for a run alone."""
        if not number:
            return {}
        name = f"{dataset}.{variable.lower()}_{number}"
        schema = [bigquery.SchemaField.from_api_repr(column) for column in bigquery_schema(row)]
        warehouse.client.create_table(bigquery.Table(name, schema=schema))
        return {variable: name}

    def scores(number: int) -> str:
        variable = "SCORES_TABLE"
        return own(variable, Score, number).get(variable, warehouse.environment[variable])

    return {
        "check_day": lambda number: (["--run-date=2024-07-01"], {}),
        "ingest": lambda number: ([f"--file={tmp_path}/sales.csv"], own("SALES_TABLE", Sale, number)),
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
                f"--run_date={Models.FIRST}",
                f"--output=gs://{warehouse.models.bucket_name}/runs/{number}",
                f"--table={scores(number)}",
                f"--staging_dataset={warehouse.environment['STAGING_DATASET']}",
            ],
            {},
        ),
        "check_scores": lambda number: ([f"--run-date={Models.FIRST}", "--horizon=1", "--version=v1"], {}),
        "transient": lambda number: (
            [f"--run-date={LAST}", "--model=theta", "--horizon=1"],
            own("TRANSIENT_SCORES_TABLE", Score, number),
        ),
    }


Call = tuple[str, str, int, str]
"""A step, a server, the number of a request to it, and the request."""


def every_call(steps: Steps, cases: dict[str, Case]) -> Iterator[Call]:
    """Each request that each step sends when all is well."""
    for module, case in cases.items():
        ran = steps.run(module, case(0))
        assert ran.status == 0, f"{module}: {ran.printed}"
        for server, requests in ran.requests.items():
            for number, request in enumerate(requests, start=1):
                yield module, server, number, request


def wrong(steps: Steps, cases: dict[str, Case], runs: list[tuple[Call, str, Fault, int]]) -> list[str]:
    """Runs with a fault from a call on, which it should end with a status, and do not."""

    def spoiled(number: int) -> str:
        (module, server, first, request), name, fault, expected = runs[number]
        ran = steps.run(module, cases[module](number + 1), fault, server, first)
        right = ran.status == expected and re.search(r"^\w+: ", ran.printed, re.MULTILINE)
        # Beam logs where an error of a worker comes from.
        right = right and (module == "score" or "Traceback" not in ran.printed)
        right = right and (fault is not swallow or ran.waited <= _LIMIT_SECONDS)
        return (
            ""
            if right
            else f"{module}, {request}: {name}: {ran.status}, waits {ran.waited:.0f} s: {ran.printed}"
        )

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return [each for each in pool.map(spoiled, range(len(runs))) if each]


@pytest.mark.slow
def test_each_call_may_be_spoiled(steps: Steps, cases: dict[str, Case]) -> None:
    """From each request of each step on, connections are silent or break, or the answer is of no use."""
    runs: list[tuple[Call, str, Fault, int]] = []
    for call in every_call(steps, cases):
        runs += [(call, "silence", swallow, 75), (call, "reset", reset, 75)]
        runs += [(call, "503", refusal(503, "backendError"), 75)]
        if call[-1].endswith("alt=media 200"):
            runs += [(call, "altered", altered, 75)]
    assert len(runs) > 100
    assert wrong(steps, cases, runs) == []


BIGQUERY_FAULTS: Final[dict[str, tuple[Fault, int]]] = {
    "reset": (reset, 75),
    "cut": (cut, 75),
    "503": (refusal(503, "backendError"), 75),
    "429": (refusal(429, "tooManyRequests"), 75),
    "403 rateLimitExceeded": (refusal(403, "rateLimitExceeded"), 75),
    "403 accessDenied": (refusal(403, "accessDenied"), 1),
    "404": (refusal(404, "notFound"), 1),
    "400": (refusal(400, "invalidQuery"), 1),
    "failed job, backendError": (failed_job("backendError"), 75),
    "failed job, jobInternalError": (failed_job("jobInternalError"), 75),
    "failed job, tableUnavailable": (failed_job("tableUnavailable"), 75),
    "failed job, invalid": (failed_job("invalid"), 1),
}
STORAGE_FAULTS: Final[dict[str, tuple[Fault, int]]] = {
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
    calls: list[tuple[Call, dict[str, tuple[Fault, int]]]] = [
        (("check_day", SERVERS[0], 1, ""), BIGQUERY_FAULTS),
        (("ingest", SERVERS[0], 1, ""), BIGQUERY_FAULTS),
        (("train", SERVERS[1], 1, ""), STORAGE_FAULTS),
    ]
    runs = [(call, name, *spoils) for call, faults in calls for name, spoils in faults.items()]
    assert wrong(steps, cases, runs) == []
