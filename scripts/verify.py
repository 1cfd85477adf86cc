"""Send a forecast through every front door of the local platform and check what comes back: `make verify`."""

import concurrent.futures
import dataclasses
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import msgspec
from google.api_core import exceptions
from google.cloud import bigquery, pubsub_v1
from rich.console import Console
from rich.table import Column, Table

from infra import environment
from infra.environment import Environment
from infra.simulator import emulators
from services.bigquery import connect
from services.contracts import names
from services.contracts.messages import PredictionResponse, SalePrediction, SaleRangeRequest

DAYS = 7
_PATIENCE_SECONDS = 30.0


class CheckError(Exception):
    """A front door did not answer as promised; the message says what came instead and where to look."""


@dataclasses.dataclass(frozen=True)
class Check:
    """What one front door gave.

    Attributes:
        name: the front door.
        passed: whether it answered as promised.
        detail: what came back, or what is wrong and where to look.
    """

    name: str
    passed: bool
    detail: str


def prediction_url(local: Environment) -> str:
    """Where the local prediction service answers."""
    return f"http://127.0.0.1:{local.prediction.port}"


def check_http(local: Environment) -> str:
    """`GET /predict`: `DAYS` days for every series.

    Raises:
        CheckError: it does not answer so.
    """
    url = f"{prediction_url(local)}/predict?range={DAYS}"
    look = "look at `make status` and the service's log"
    try:
        response = httpx.get(url, timeout=_PATIENCE_SECONDS)
    except httpx.HTTPError as error:
        raise CheckError(f"GET {url}: {error}; {look}") from None
    if not response.is_success:
        raise CheckError(f"GET {url}: {response.status_code} {response.text[:200]}; {look}")
    answer = msgspec.json.decode(response.content, type=PredictionResponse)
    series = {(row.store_nbr, row.family) for row in answer.prediction}
    if not series or len(answer.prediction) != DAYS * len(series):
        raise CheckError(f"GET {url}: {len(answer.prediction)} rows for {len(series)} series")
    return f"{DAYS} days of {len(series)} series, model {answer.model.version}"


def check_active(local: Environment) -> str:
    """An active request on `sale-range` is answered once on `sale-predictions`.

    Raises:
        CheckError: no reply came in time, or not the right one.
    """
    request = SaleRangeRequest(request_id=f"verify-{uuid.uuid4()}", range=DAYS, mode="active")
    started = time.monotonic()
    _publish(local, request)
    for attributes, data in _replies(local, started + _PATIENCE_SECONDS):
        if attributes.get(names.REQUEST_ID_ATTRIBUTE) != request.request_id:
            continue
        reply = msgspec.json.decode(data, type=SalePrediction)
        if not reply.success or reply.request_id != request.request_id or not reply.prediction:
            raise CheckError(f"the reply is not that of the request: {data[:200]!r}")
        taken = (time.monotonic() - started) * 1000
        return f"reply with {len(reply.prediction)} rows after {taken:.0f} ms"
    raise CheckError(
        f"no reply on {names.SALE_PREDICTIONS_TOPIC} within {_PATIENCE_SECONDS:.0f} s; look at "
        f"`make status`, the streaming service's log and the topic {names.DEAD_LETTER_TOPIC}"
    )


def check_passive(local: Environment) -> str:
    """A passive request's rows are saved in BigQuery, `DAYS` days for every series.

    Raises:
        CheckError: they are not there in time.
    """
    request = SaleRangeRequest(request_id=f"verify-{uuid.uuid4()}", range=DAYS)
    table = f"{local.project_id}.{names.PREDICTIONS_DATASET}.{names.PREDICTIONS_TABLE}"
    query = (
        "SELECT COUNT(*) AS row_count, COUNT(DISTINCT date) AS days "  # noqa: S608 -- a table is no parameter
        f"FROM `{table}` WHERE request_id = @request_id"
    )
    parameter = bigquery.ScalarQueryParameter("request_id", "STRING", request.request_id)
    job = bigquery.QueryJobConfig(query_parameters=[parameter])
    started = time.monotonic()
    _publish(local, request)
    with connect(local.project_id) as client:
        while time.monotonic() < started + _PATIENCE_SECONDS:
            [row] = client.query(query, job_config=job).result()
            if row["days"] == DAYS:
                return f"{row['row_count']} rows in {table}"
            time.sleep(0.2)
    raise CheckError(
        f"the rows of {request.request_id} are not in {table} after {_PATIENCE_SECONDS:.0f} s; look at "
        f"`make status` and the streaming service's log"
    )


def _publish(local: Environment, request: SaleRangeRequest) -> None:
    publisher = pubsub_v1.PublisherClient()
    topic = publisher.topic_path(local.project_id, names.SALE_RANGE_TOPIC)
    try:
        publisher.publish(topic, msgspec.json.encode(request)).result(timeout=_PATIENCE_SECONDS)
    except (exceptions.GoogleAPICallError, concurrent.futures.TimeoutError) as error:
        raise CheckError(f"cannot publish on {topic}: {error!r}; look at `make status`") from None


def _replies(local: Environment, deadline: float) -> Iterator[tuple[dict[str, str], bytes]]:
    """Attributes and body of the replies that come until the deadline, acknowledged."""
    subscriber = pubsub_v1.SubscriberClient()
    path = subscriber.subscription_path(local.project_id, names.SALE_PREDICTIONS_SUBSCRIPTION)
    while time.monotonic() < deadline:
        try:
            pulled = subscriber.pull(subscription=path, max_messages=10, timeout=5)
        except exceptions.DeadlineExceeded:
            continue
        except exceptions.GoogleAPICallError as error:
            raise CheckError(f"cannot pull from {path}: {error.message}; look at `make status`") from None
        if pulled.received_messages:
            subscriber.acknowledge(
                subscription=path, ack_ids=[received.ack_id for received in pulled.received_messages]
            )
        for received in pulled.received_messages:
            yield dict(received.message.attributes), received.message.data


CHECKS: dict[str, Callable[[Environment], str]] = {
    "forecast over HTTP": check_http,
    "active request over Pub/Sub": check_active,
    "passive request over Pub/Sub": check_passive,
}


def run(local: Environment) -> list[Check]:
    """Every check, whether or not one before it failed.

    Raises:
        EmulatorError: the local platform is not up.
    """
    os.environ.update(emulators.endpoints().environment)
    checks: list[Check] = []
    for name, check in CHECKS.items():
        try:
            checks.append(Check(name, True, check(local)))
        except CheckError as error:
            checks.append(Check(name, False, str(error)))
    return checks


def main() -> int:
    """Print a table of checks; 1 when one failed."""
    try:
        checks = run(environment.load("local"))
    except (emulators.EmulatorError, environment.InvalidEnvironmentError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return 1
    table = Table("", "front door", Column("what came back", overflow="fold"))
    for check in checks:
        table.add_row("[green]✓[/]" if check.passed else "[red]✗[/]", check.name, check.detail)
    Console().print(table)
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
