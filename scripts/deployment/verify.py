"""Check an environment: `scripts/verify dev` asks for forecasts over HTTP and Pub/Sub.

In a cloud it first finds the cluster and waits for the rollouts and the Gateway's address, for at most
VERIFY_SECONDS (300). Exit status: 0 every check passed, 1 a check failed.
"""

import functools
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import httpx
import msgspec
from google.api_core import exceptions
from google.cloud import bigquery
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.environment import PLATFORM, Environment
from scripts.command import TARGET, CommandError, command, use_environment
from scripts.deployment.access import check_login
from scripts.messages.publish import Answer, ask
from services.bigquery import connect
from services.contracts import names
from services.contracts.messages import PredictionResponse, SaleRangeRequest

DAYS = 7
_PATIENCE_SECONDS = 30.0
_ACCESS = "or on this machine up (`make status`), and may you use it?"


class Check(NamedTuple):
    """What was checked; whether it passed; what came back, or what is wrong and where to look."""

    name: str
    passed: bool
    detail: str


def url_of(target: Environment, service: str) -> str | None:
    """Base URL of a service that clients call; None if only the cluster reaches it."""
    if target.simulated:
        return f"http://127.0.0.1:{target.workloads[service].port}"
    return f"https://{target.gateway.hostname}" if target.gateway else None


def _check_service(target: Environment, service: str) -> str:
    """`GET` of the route of a service without settings of its own."""
    answer = _get(target, service, target.services[service].route)
    return answer if isinstance(answer, str) else f"{answer.status_code} from {answer.url}"


def check_http(target: Environment) -> str:
    """`GET /predict`: `DAYS` days for every series."""
    response = _get(target, "prediction", f"{names.PREDICT_PATH}?range={DAYS}")
    if isinstance(response, str):
        return response
    look = _look(target, "prediction")
    try:
        answer = msgspec.json.decode(response.content, type=PredictionResponse)
    except msgspec.DecodeError as error:
        found = f"no forecast, {error}: {response.text[:200]}"
        raise CommandError(f"GET {response.url}: {found}; look at {look}") from None
    series = {(row.store_nbr, row.family) for row in answer.prediction}
    if not series or len(answer.prediction) != DAYS * len(series):
        found = f"{len(answer.prediction)} rows for {len(series)} series"
        raise CommandError(f"GET {response.url}: {found}; look at {look}")
    return f"{DAYS} days of {len(series)} series, model {answer.model.version}"


def _get(target: Environment, service: str, path: str) -> httpx.Response | str:
    """The successful response of a service; text if it cannot be asked from here."""
    base = url_of(target, service)
    if base is None:
        port = target.workloads[service].port
        forward = f"kubectl --namespace {PLATFORM} port-forward deployment/{service} {port}"
        return f"not tried: {target.name} has no Gateway; `{forward}`"
    url = f"{base}{path}"
    try:
        response = httpx.get(url, timeout=_PATIENCE_SECONDS)
    except httpx.HTTPError as error:
        raise CommandError(f"GET {url}: {error}; look at {_look(target, service)}") from None
    if target.gateway and target.gateway.iap_members and response.status_code in (302, 401, 403):
        return f"{response.status_code}: Identity-Aware Proxy admits the members that the environment names"
    if not response.is_success:
        found = f"{response.status_code} {response.text[:200]}"
        raise CommandError(f"GET {url}: {found}; look at {_look(target, service)}")
    return response


def _look(target: Environment, service: str) -> str:
    """Where to look for the cause of a failed check."""
    if target.simulated:
        return f"`make status` and the log of {service}"
    return f"`kubectl --namespace {PLATFORM} logs deployment/{service}`"


def _check_active(target: Environment) -> str:
    """An active request on `sale-range` is answered on `sale-predictions`."""
    answer = _ask(target, SaleRangeRequest(request_id=f"verify-{uuid.uuid4()}", range=DAYS, mode="active"))
    look = _look(target, "streaming")
    if answer is None:
        missing = f"no reply on {names.SALE_PREDICTIONS_TOPIC} within {_PATIENCE_SECONDS:.0f} s"
        raise CommandError(f"{missing}; look at {look} and the topic {names.DEAD_LETTER_TOPIC}")
    if answer.status != "ok" or not answer.rows:
        raise CommandError(f"no forecast, but {answer}; look at {look}")
    return f"reply with {answer.rows} rows after {answer.seconds * 1000:.0f} ms"


def _check_passive(target: Environment) -> str:
    """A passive request's rows are saved in BigQuery, `DAYS` days for every series."""
    request = SaleRangeRequest(request_id=f"verify-{uuid.uuid4()}", range=DAYS)
    table = f"{target.project_id}.{names.PREDICTIONS_DATASET}.{names.PREDICTIONS_TABLE}"
    query = (
        "SELECT COUNT(*) AS row_count, COUNT(DISTINCT date) AS days "  # noqa: S608 -- a table is no parameter
        f"FROM `{table}` WHERE request_id = @request_id "
        "AND processed_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)"
    )
    parameter = bigquery.ScalarQueryParameter("request_id", "STRING", request.request_id)
    job = bigquery.QueryJobConfig(query_parameters=[parameter])
    started = time.monotonic()
    _ask(target, request)
    with connect(target.project_id) as client:
        while time.monotonic() < started + _PATIENCE_SECONDS:
            try:
                [row] = client.query(query, job_config=job).result()
            except exceptions.GoogleAPICallError as error:
                raise CommandError(f"{table}: {error.message}; is data deployed, {_ACCESS}") from None
            if row["days"] == DAYS:
                return f"{row['row_count']} rows in {table}"
            time.sleep(0.2)
    missing = f"the rows of {request.request_id} are not in {table} after {_PATIENCE_SECONDS:.0f} s"
    raise CommandError(f"{missing}; look at {_look(target, 'streaming')}")


def _ask(target: Environment, request: SaleRangeRequest) -> Answer | None:
    """Publish a request; returns the reply, if it asks for one and one comes."""
    try:
        return ask(target.project_id, [request], _PATIENCE_SECONDS).get(request.request_id)
    except exceptions.GoogleAPIError as error:
        asked = f"cannot ask on {names.SALE_RANGE_TOPIC}: {error}"
        raise CommandError(f"{asked}; is messaging deployed, {_ACCESS}") from None


def run(target: Environment) -> list[Check]:
    """Run every check, each after those that it depends on, also after a failed one."""
    checks: list[Check] = []

    def check(name: str, look: Callable[..., str], *arguments: object) -> None:
        try:
            checks.append(Check(name, True, look(*arguments)))
        except CommandError as error:
            checks.append(Check(name, False, str(error)))

    if not target.simulated:
        from scripts.deployment import rollout  # every `make up` would wait for its clients of clusters

        cluster = functools.cache(lambda: rollout.connect(target, rollout.ClusterManagerClient()))

        def rolled_out(service: str) -> str:
            return rollout.wait_rolled_out(cluster(), service)

        check("cluster", lambda: f"answers at {cluster().configuration.host}")
        for each in target.workloads:
            check(f"rollout of {each}", rolled_out, each)
        if target.gateway:
            check("address of the Gateway", lambda: rollout.wait_address(cluster(), "gateway"))
    check("forecast over HTTP", check_http, target)
    for each in target.services:
        check(f"{each} over HTTP", _check_service, target, each)
    check("active request over Pub/Sub", _check_active, target)
    check("passive request over Pub/Sub", _check_passive, target)
    return checks


@command("verify", TARGET)
def main(target: Environment) -> int:
    """Print a table of checks; 1 if one failed."""
    use_environment(target)
    if not target.simulated:
        check_login()
    checks = run(target)
    table = Table("", "check", Column("what came back", overflow="fold"))
    for check in checks:
        table.add_row("[green]✓[/]" if check.passed else "[red]✗[/]", check.name, escape(check.detail))
    Console().print(table)
    return 0 if all(check.passed for check in checks) else 1
