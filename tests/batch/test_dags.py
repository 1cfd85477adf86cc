"""The DAGs under a real Airflow, with real steps against the emulators."""

import contextlib
import datetime
import email
import http.server
import itertools
import json
import re
import socketserver
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import polars as pl
import pytest
from google.cloud.dataflow_v1beta3.types import LaunchFlexTemplateParameter, WorkerIPAddressConfiguration
from google.protobuf.json_format import ParseDict

from scripts.laptop import airflow as program
from scripts.laptop.airflow import PROGRAM, Airflow
from scripts.paths import ROOT
from services.batch import score
from services.batch.warehouse import SalesTable
from services.contracts.names import DAILY_DAG
from services.contracts.settings import BatchSettings, DagSettings, from_environment, to_environment
from tests.batch import fork_server
from tests.batch.conftest import Warehouse, amend, forks
from tests.batch.sales import SERIES, small_sales
from tests.conftest import free_port, wait_for

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(not PROGRAM.exists(), reason="Airflow is absent: run `make install-airflow`"),
]

LAST = datetime.date(2024, 6, 30)
RUN = datetime.date(2024, 7, 1)
DAYS = 7


class Inbox:
    """A mail server and PagerDuty's door on loopback, which keep what they get."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.events: list[dict[str, Any]] = []
        inbox = self

        class Mail(socketserver.StreamRequestHandler):
            """As much of SMTP (RFC 5321) as a client without encryption asks for."""

            def handle(self) -> None:
                self.wfile.write(b"220 ready\r\n")
                while line := self.rfile.readline():
                    if line.upper().startswith(b"DATA"):
                        self.wfile.write(b"354 go on\r\n")
                        body = b"".join(iter(self.rfile.readline, b".\r\n"))
                        message = email.message_from_bytes(body)
                        parts = [part.get_payload(decode=True) for part in message.walk()]
                        text = b"".join(part for part in parts if isinstance(part, bytes)).decode()
                        inbox.mails.append(f"{message['Subject']}\n{message['To']}\n{text}")
                    elif line.upper().startswith(b"QUIT"):
                        self.wfile.write(b"221 bye\r\n")
                        return
                    self.wfile.write(b"250 ok\r\n")

        class Door(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v2/enqueue"
                inbox.events.append(body)
                self.send_response(202)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.servers = [
            socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail),
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door),
        ]
        self.mail_port, self.door_port = (server.server_address[1] for server in self.servers)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        smtp = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
        mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": self.mail_port, "extra": smtp}
        door = {"conn_type": "http", "host": f"http://127.0.0.1:{self.door_port}", "password": "k" * 32}
        return {
            "ALERT_CHANNELS": "mail,pagerduty",
            "ALERT_EMAIL": "oncall@example.com",
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(mail),
            "AIRFLOW_CONN_PAGERDUTY_DEFAULT": json.dumps(door),
        }


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    for server in inbox.servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder, with its database, which takes a while to make."""
    home = tmp_path_factory.mktemp("airflow")
    Airflow(home, {}).prepare()
    return home


@pytest.fixture(scope="module")
def airflow_forks(home: Path) -> Iterator[str]:
    """Forks of a process that has imported Airflow; see `fork_server`."""
    variables = Airflow(home, {}).variables
    with forks(PROGRAM.with_name("python"), "tests.batch.warm_airflow", **variables) as address:
        yield address


class WarmAirflow(Airflow):
    """An Airflow whose commands are run by a program that stands in for its own; its servers are not."""

    def __init__(self, folder: Path, variables: Mapping[str, str], stand_in: Path) -> None:
        super().__init__(folder, variables)
        self._stand_in = stand_in

    def run(self, *arguments: str, log: str | None = None) -> None:
        with mock.patch.object(program, "PROGRAM", self._stand_in):
            super().run(*arguments, log=log)


@pytest.fixture
def variables(warehouse: Warehouse, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What Airflow is told: the test's own tables and bucket, and the inbox."""
    for name, value in warehouse.environment.items():
        monkeypatch.setenv(name, value)
    port = mock.Mock(return_value={"port": free_port()})
    monkeypatch.setattr(program.emulators, "free_ports", port)
    inbox.mails.clear()
    inbox.events.clear()
    batch = from_environment(BatchSettings, warehouse.environment)
    return {**warehouse.environment, **to_environment(program.settings(batch)), **inbox.environment}


@pytest.fixture
def plain_airflow(home: Path, variables: dict[str, str]) -> Airflow:
    """Airflow as on a laptop: each command and each step is an interpreter of its own."""
    return Airflow(home, variables)


@pytest.fixture
def airflow(
    home: Path, variables: dict[str, str], steps_python: str, airflow_forks: str, tmp_path: Path
) -> Airflow:
    """The same, whose commands and steps are forks of one process each."""
    fork_server.write_client(tmp_path / "airflow", airflow_forks, "-m", "airflow.__main__")
    return WarmAirflow(home, variables | {"STEPS_PYTHON": steps_python}, tmp_path / "airflow")


def states(airflow: Airflow, run_id: str) -> dict[str, str]:
    return {name: task["state"] for name, task in airflow.tasks(run_id).items()}


def scores(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    table = warehouse.environment["SCORES_TABLE"]
    return sorted((tuple(row.values()) for row in warehouse.client.list_rows(table)), key=str)


def check_event(event: dict[str, Any], severity: str) -> None:
    """What https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ requires."""
    assert event.keys() == {"routing_key", "event_action", "dedup_key", "payload"}
    assert len(event["routing_key"]) == 32
    assert event["event_action"] == "trigger"
    assert 0 < len(event["dedup_key"]) <= 255
    payload = event["payload"]
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"] == "local"
    assert payload["severity"] == severity


def served(warehouse: Warehouse) -> str:
    pointer = warehouse.registry.pointer()
    assert pointer is not None
    return pointer[0].version


def expected(warehouse: Warehouse, run_date: datetime.date, version: str) -> list[tuple[Any, ...]]:
    """A day's rows of scores when it is scored with a version."""
    rows = warehouse.registry.load(version).forecast.rows(2 * DAYS, range(len(SERIES)))
    last = run_date + datetime.timedelta(days=DAYS - 1)
    return sorted(
        (
            (run_date, version, row.date, row.store_nbr, row.family, row.sales, row.lower, row.upper, None)
            for row in rows
            if run_date <= row.date <= last
        ),
        key=str,
    )


def subjects(inbox: Inbox) -> list[str]:
    return [mail.splitlines()[0] for mail in inbox.mails]


@pytest.mark.slow
def test_dry_late_and_refused_days(airflow: Airflow, warehouse: Warehouse, inbox: Inbox) -> None:
    """One day tried, corrected, run; the model of the next is worse."""
    sales = small_sales(RUN, 200)
    table = SalesTable(warehouse.table)
    table.replace(sales)
    conf = {"horizon": DAYS, "model": "theta"}

    dry = airflow.try_run(RUN, conf | {"dry_run": True})
    found = states(airflow, dry)
    assert [found[name] for name in ("keep", "score", "kept")] == ["success"] * 3
    assert [found[name] for name in ("publish", "reject", "check_scores", "notify")] == ["skipped"] * 4
    assert warehouse.registry.pointer() is None
    assert scores(warehouse) == []
    assert inbox.mails == []

    first = airflow.tasks(dry)["train"]["result"]["version"]
    table.replace(late(sales, LAST))
    run = airflow.try_run(RUN, conf)
    assert states(airflow, run)["check_scores"] == "success"
    version = served(warehouse)
    assert version != first  # another model, for it knows other sales
    assert scores(warehouse) == expected(warehouse, RUN, version)
    assert subjects(inbox) == ["[local] Run complete: sales_forecast.notify"]
    assert inbox.events == []

    # The next day's model is worse by far than what is published claims to be.
    amend(warehouse.models, version, mase=0.01)
    inbox.mails.clear()
    tomorrow = RUN + datetime.timedelta(days=1)
    refused = airflow.try_run(tomorrow, conf)
    found = states(airflow, refused)
    assert (found["publish"], found["keep"], found["reject"]) == ("skipped", "skipped", "success")
    assert served(warehouse) == version
    both = expected(warehouse, RUN, version) + expected(warehouse, tomorrow, version)
    assert scores(warehouse) == sorted(both, key=str)
    assert subjects(inbox) == [
        "[local] Model rejected: sales_forecast.reject",
        "[local] Run complete: sales_forecast.notify",
    ]
    assert "of the seasonal naive's" in inbox.mails[0]
    (event,) = inbox.events
    check_event(event, "warning")


def late(sales: pl.DataFrame, day: datetime.date) -> pl.DataFrame:
    """The same sales with those of one day corrected."""
    return sales.with_columns(sales=pl.when(pl.col("date") == day).then(9.0).otherwise(pl.col("sales")))


def rows(airflow: Airflow, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What Airflow's database answers."""
    with contextlib.closing(sqlite3.connect(airflow.folder / "airflow.db")) as database:
        return database.execute(query, parameters).fetchall()


def clear(url: str, airflow: Airflow, runs: Sequence[str], task: str) -> None:
    """Have a task and those after it run again, as Airflow's page does, and wait for the end of the runs."""
    token = httpx.get(f"{url}/auth/token").raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    tries = {run: airflow.tasks(run)["notify"]["tries"] for run in runs}

    def ask(run: str) -> httpx.Response | None:
        path = f"{url}/api/v2/dags/{DAILY_DAG}/clearTaskInstances"
        body = {"dag_run_id": run, "task_ids": [task], "include_downstream": True, "dry_run": False}
        body |= {"only_failed": False, "reset_dag_runs": True}
        answer = httpx.post(path, headers=headers, json=body, timeout=60)
        # Its tasks may hold the lock of the database.
        return None if answer.status_code == 503 else answer

    def ended(run: str) -> bool:
        tried = airflow.tasks(run)["notify"]["tries"] > tries[run]
        return tried and rows(airflow, "SELECT state FROM dag_run WHERE run_id = ?", run) == [("success",)]

    for run in runs:
        wait_for("the lock is free", lambda run=run: ask(run)).raise_for_status()
    for run in runs:
        wait_for(f"{run} has run again", lambda run=run: ended(run), 600)


@pytest.mark.slow
def test_days_of_a_backfill_that_run_twice_are_the_same(
    airflow: Airflow, warehouse: Warehouse, inbox: Inbox
) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST, 200))
    first, second, third = days = [RUN - datetime.timedelta(days=back) for back in (2, 1, 0)]
    conf = {"horizon": DAYS, "model": "theta"}

    with contextlib.closing(sqlite3.connect(airflow.folder / "airflow.db")) as database:
        database.execute(  # every run misses its deadline
            "CREATE TRIGGER soon AFTER INSERT ON deadline BEGIN "
            "UPDATE deadline SET deadline_time = '2024-01-01 00:00:00.000000' WHERE id = NEW.id; END"
        )
    planned = airflow.plan(first, third, conf)
    with airflow.running() as url:
        runs = airflow.finish(planned, print)
        missed = [
            mail for mail in inbox.mails if mail.startswith("[local] Deadline missed: sales_forecast\n")
        ]
        assert ["runbook: docs/runbook.md#deadline-missed" in mail for mail in missed] == [True] * 3
        assert states(airflow, runs[0]) == {
            **dict.fromkeys(("check_day", "validate", "extract", "train", "backtest", "compare"), "success"),
            **dict.fromkeys(("decide", "publish", "score", "kept", "check_scores", "notify"), "success"),
            **dict.fromkeys(("keep", "reject"), "skipped"),
        }
        for task in airflow.tasks(runs[0]).values():
            assert len(json.dumps(task["result"])) < 4096  # as much as a pod's status carries
        judged = [airflow.tasks(run)["compare"]["result"] for run in runs]
        assert [each["verdict"] for each in judged] == ["publish", "reject", "publish"]
        versions = [judged[0]["version"], judged[0]["version"], judged[2]["version"]]
        assert served(warehouse) == versions[2]
        partitions = [expected(warehouse, *each) for each in zip(days, versions, strict=True)]
        found = scores(warehouse)
        assert found == sorted(itertools.chain(*partitions), key=str)

        # Two of the days once more, then a part of a day, as *Clear* on Airflow's page does it.
        clear(url, airflow, runs[:2], "check_day")
        assert [states(airflow, run)["keep"] for run in runs[:2]] == ["success"] * 2
        assert (
            scores(warehouse) == found
        )  # the day that was refused, too, though there is a newer version now
        assert served(warehouse) == versions[2]

        table = warehouse.environment["SCORES_TABLE"]
        warehouse.client.query(f"DELETE FROM `{table}` WHERE run_date = '{first}'").result()  # noqa: S608
        assert scores(warehouse) != found
        tries = {name: task["tries"] for name, task in airflow.tasks(runs[0]).items()}
        clear(url, airflow, runs[:1], "score")
    again = {name for name, task in airflow.tasks(runs[0]).items() if task["tries"] > tries[name]}
    assert again == {"score", "kept", "check_scores", "notify"}
    assert scores(warehouse) == found

    # Another backfill has days run again that have been run.
    planned = airflow.plan(first, second, conf)
    query = "SELECT run_id, state FROM dag_run WHERE backfill_id = ? ORDER BY logical_date"
    assert rows(airflow, query, planned) == [(run, "queued") for run in runs[:2]]


def test_the_transient_pipeline_keeps_predictions_alone(plain_airflow: Airflow, warehouse: Warehouse) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST, 200))
    dag = "sales_forecast_transient"
    run = plain_airflow.try_run(RUN, {"horizon": DAYS, "model": "theta"}, dag)
    tasks = plain_airflow.tasks(run, dag)
    assert [task["state"] for task in tasks.values()] == ["success", "success"]
    table = warehouse.client.get_table(warehouse.environment["TRANSIENT_SCORES_TABLE"])
    assert len(list(warehouse.client.list_rows(table))) == tasks["transient"]["result"]["rows"] == 21
    assert scores(warehouse) == []
    assert list(warehouse.models.bucket.list_blobs(prefix="sales/")) == []


def test_a_missing_day_fails_at_once_and_people_are_told(
    airflow: Airflow, warehouse: Warehouse, inbox: Inbox
) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST - datetime.timedelta(days=1), 200))
    run = airflow.try_run(RUN)
    task = airflow.tasks(run)["check_day"]
    assert (task["state"], task["tries"]) == ("failed", 1)  # not tried again: it would be of no use
    (event,) = inbox.events
    check_event(event, "error")
    assert program.failed(airflow, run)
    table = program.report(airflow, run)
    assert [column.header for column in table.columns] == ["task", "state", "seconds", "rows", "note"]
    (mail,) = inbox.mails
    assert mail.startswith("[local] Task failed: sales_forecast.check_day\noncall@example.com\n")
    for text in (mail, event["payload"]["custom_details"]["text"]):
        assert "has no sales of 2024-06-30; the newest is 2024-06-29" in text
        assert "owner: sales-forecast" in text
        assert "runbook: docs/runbook.md#task-failed" in text
    assert scores(warehouse) == []


@pytest.fixture
def airflow_python(airflow_forks: str, tmp_path: Path) -> Path:
    """A stand-in for the interpreter of Airflow, which has imported it."""
    fork_server.write_client(tmp_path / "python", airflow_forks)
    return tmp_path / "python"


def told_by_airflow(python: Path, code: str, variables: Mapping[str, str]) -> Any:
    """What a program prints last, as JSON, in Airflow's environment with these variables alone."""
    done = subprocess.run(
        [python, "-c", code],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


_CLOUD = """
import ast, json, sys, zipfile
from datetime import timedelta
from types import SimpleNamespace as Some
sys.path.insert(0, {dags!r})
import forecast_google
from airflow.sdk.exceptions import AirflowException, AirflowFailException

def parameters(name, wheels, function="__init__"):
    found = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if "/operators/" not in member and not member.endswith("/hooks/dataflow.py"):
                    continue
                if not member.endswith(".py"):
                    continue
                source = archive.read(member)
                if b"class " + name.encode() not in source:
                    continue
                for node in ast.parse(source).body:
                    if isinstance(node, ast.ClassDef) and node.name == name:
                        for item in node.body:
                            if isinstance(item, ast.FunctionDef) and item.name == function:
                                found |= {{each.arg for each in item.args.args + item.args.kwonlyargs}}
    return found

wheels = {wheels!r}
pod = forecast_google.pod_arguments("train", ["--snapshot=x"], "2", "4Gi", timedelta(minutes=90))
job = forecast_google.dataflow_arguments("score", ["--run_date=2024-07-01", "--query=SELECT 1 = 1"])
def pod_that(terminated):
    ends = {{"other": None, "base": terminated}}
    return Some(status=Some(container_statuses=[
        Some(name=name, state=Some(terminated=end)) for name, end in ends.items()
    ]))

done = pod_that(Some(exit_code=0, message='{{"rows": 3}}'))
assert forecast_google.pod_result(done) == {{"rows": 3}}
for status, final in ((1, True), (75, False), (137, False), (None, False)):
    failed = pod_that(status and Some(exit_code=status, message="train: too few days"))
    assert forecast_google.pod_result(failed) is None
    error = forecast_google.pod_error(failed, AirflowException("why"))
    assert (isinstance(error, AirflowFailException), str(error)) == (final, "why")
assert forecast_google.pod_result(Some(status=Some(container_statuses=None))) is None
known = parameters("GKEStartPodOperator", wheels) | parameters("KubernetesPodOperator", wheels)
print(json.dumps({{
    "cleanup": sorted(parameters("KubernetesPodOperator", wheels, "cleanup")),
    "deletion": sorted(parameters("KubernetesPodOperator", wheels, "process_pod_deletion")),
    "cancel": sorted(parameters("DataflowHook", wheels, "cancel_job")),
    "pod": pod, "job": job["body"], "unknown": sorted(
        (pod.keys() | {{"on_finish_action"}}) - known
        | job.keys() - parameters("DataflowStartFlexTemplateOperator", wheels)
    ),
}}))
"""


def test_what_operators_of_the_cloud_are_told(airflow_python: Path, tmp_path: Path) -> None:
    """Against signatures in the provider's wheels and types of Dataflow's API; none is installed."""
    wheels = [str(wheel) for wheel in sorted((ROOT / "build" / "operators").glob("*.whl"))]
    if len(wheels) != 2:
        pytest.skip("the operators' wheels are absent: run `make install-airflow`")
    google = {name.upper(): f"a-{name}" for name in DagSettings.__struct_fields__}
    google |= {"STEPS_RUN_ON": "google", "DATAFLOW_MAX_WORKERS": "3", "AIRFLOW_HOME": str(tmp_path)}
    found = told_by_airflow(airflow_python, _CLOUD.format(dags=str(program.DAGS), wheels=wheels), google)
    assert found["unknown"] == []
    assert found["cleanup"] == ["context", "pod", "remote_pod", "self", "xcom_result"]
    assert found["deletion"] == ["pod", "reraise", "self"]
    assert {"project_id", "job_id", "location"} <= set(found["cancel"])
    launch = ParseDict(found["job"]["launchParameter"], LaunchFlexTemplateParameter.pb()())
    assert launch.environment.max_workers == 3
    assert launch.environment.ip_configuration == WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert dict(launch.parameters) == {"run_date": "2024-07-01", "query": "SELECT 1 = 1"}
    assert found["pod"]["pod_template_dict"]["spec"]["activeDeadlineSeconds"] == 90 * 60
    (container,) = found["pod"]["pod_template_dict"]["spec"]["containers"]
    assert container["image"] == "a-steps_image"
    assert found["pod"]["do_xcom_push"] is False  # or the operator adds a container of a public image
    told = {each["name"]: each["value"] for each in container["env"]}
    assert (
        from_environment(
            BatchSettings,
            told
            | {"STAGING_DATASET": "a.b", "GROUP_SERIES": "1"}
            | dict.fromkeys(("SALES_TABLE", "SCORES_TABLE", "TRANSIENT_SCORES_TABLE"), "a.b.c"),
        ).model_bucket
        == "a-model_bucket"
    )


_STEPS = """
import json, os, sys, types
from datetime import timedelta
sys.path.insert(0, {dags!r})
import forecast_google, forecast_steps
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferralTimeout, TaskDeferred

done = []

class Action(str):
    pass

class GKEStartPodOperator(BaseOperator):
    def __init__(self, on_finish_action, execution_timeout, task_id, arguments, **options):
        rule = options.get("trigger_rule", "all_success")
        super().__init__(task_id=task_id, execution_timeout=execution_timeout, trigger_rule=rule)
        self.arguments = arguments
        self.on_finish_action = Action(on_finish_action)

    def process_pod_deletion(self, pod, *, reraise=True):
        done.append([pod.status.phase, self.on_finish_action])

class DataflowStartFlexTemplateOperator(BaseOperator):
    def __init__(self, body, deferrable, append_job_name, project_id, location, **options):
        super().__init__(**options)
        self.project_id, self.location, self.job = project_id, location, {{"id": "job-7"}}
        self.job |= body["launchParameter"]["parameters"]
        self.hook = types.SimpleNamespace(cancel_job=lambda **job: done.append(job))

google = "airflow.providers.google.cloud.operators."
for name, operator in (
    ("kubernetes_engine", GKEStartPodOperator), ("dataflow", DataflowStartFlexTemplateOperator)
):
    module = sys.modules[google + name] = types.ModuleType(name)
    setattr(module, operator.__name__, operator)
for name in ("airflow.providers.google", "airflow.providers.google.cloud", google.rstrip(".")):
    sys.modules[name] = types.ModuleType(name)

hour = {{"task_id": "t", "execution_timeout": timedelta(hours=1)}}
for phase in ("Pending", "Running", "Failed", "Succeeded"):
    pod = types.SimpleNamespace(status=types.SimpleNamespace(phase=phase))
    forecast_google.pod("train", [], "1", "1Gi", dict(hour)).process_pod_deletion(pod, reraise=False)

kept = {{}}
ti = types.SimpleNamespace(
    xcom_push=lambda key, value: kept.update({{key: value}}), xcom_pull=lambda task, key: kept[key]
)
forecast_google.get_current_context = lambda: {{"ti": ti}}
task = forecast_google.dataflow(["--run_date=2024-07-01"], dict(hour))
def trained():
    found = forecast_steps.train("--snapshot=s", timeout=timedelta(hours=1))
    tasks = [getattr(task, "operator", task) for task in found]
    rule = "none_failed" if len(tasks) > 1 else "all_success"
    assert tasks[-1].trigger_rule == rule, "where there is one group, the job is skipped"
    return [[task.task_id, getattr(task, "job", None) or getattr(task, "arguments", [])] for task in tasks]

try:
    task.defer(trigger=None, method_name="execute_complete")
except TaskDeferred as deferred:
    done.append(deferred.timeout.total_seconds())
try:
    task.resume_execution("__fail__", {{"error": "Trigger timeout"}}, {{"ti": ti}})
except TaskDeferralTimeout:
    done.append("timeout")
os.environ["STEPS_RUNNER"] = "FlinkRunner"
done.append(forecast_steps.job("score", "--horizon=7", timeout=timedelta(hours=1)).arguments)
done.append(trained())
os.environ["STEPS_RUNNER"] = "DataflowRunner"
done.append(trained())
del os.environ["GROUP_SERIES"]
done.append(trained())
os.environ |= {{"GROUP_SERIES": "5", "STEPS_RUN_ON": "processes", "STEPS_PYTHON": "python"}}
done.append(trained())
print(json.dumps(done))
"""


def test_steps_in_the_cloud_end_with_their_timeout_and_go_where_the_environment_says(
    airflow_python: Path, tmp_path: Path
) -> None:
    """Operators stand in for those of Google's provider, whose signatures the test above knows."""
    google = {name.upper(): f"a-{name}" for name in DagSettings.__struct_fields__}
    google |= {"STEPS_RUN_ON": "google", "DATAFLOW_MAX_WORKERS": "3", "AIRFLOW_HOME": str(tmp_path)}
    groups = "--groups={{ ti.xcom_pull('stage_groups')['groups'] }}"
    project = "--project=a-sales_table"
    on_flink = [
        *(project, "--runner=FlinkRunner", "--job_endpoint=a-steps_job_endpoint"),
        *("--environment_type=DOCKER", "--environment_config=a-steps_image"),
    ]
    here = [project, "--runner=DirectRunner", "--no_auth"]
    staged = [["stage_groups", ["--snapshot=s"]], ["several_groups", []]]
    trained = ["train", ["--snapshot=s", groups]]
    assert told_by_airflow(airflow_python, _STEPS.format(dags=str(program.DAGS)), google) == [
        ["Pending", "delete_pod"],
        ["Running", "delete_pod"],
        ["Failed", "delete_succeeded_pod"],
        ["Succeeded", "delete_succeeded_pod"],
        3600.0,
        {"job_id": "job-7", "project_id": "a-steps_project", "location": "a-steps_region"},
        "timeout",
        ["--horizon=7", *on_flink],
        [*staged, ["learn_groups", [groups, *on_flink]], trained],
        [
            *staged,
            ["learn_groups", {"id": "job-7", "groups": groups.removeprefix("--groups=")}],
            trained,
        ],
        [["train", ["--snapshot=s"]]],
        [*staged, ["learn_groups", [groups, *here]], trained],
    ]


_ENDED = """
import json, sys
sys.path.insert(0, {dags!r})
import forecast_alerts
sent = []
forecast_alerts.Alert.notify = lambda alert, _: sent.append(alert.event)
for state in ("queued", "running", "failed", "success"):
    run = {{"dag_id": "sales_forecast", "dag_run_id": "r", "state": state}}
    forecast_alerts.deadline_missed({{"dag_run": run}}, definition="d")
print(json.dumps(sent))
"""


def test_a_run_that_has_ended_misses_no_deadline(airflow_python: Path, tmp_path: Path) -> None:
    variables = {"AIRFLOW_HOME": str(tmp_path)}
    missed = told_by_airflow(airflow_python, _ENDED.format(dags=str(program.DAGS)), variables)
    assert missed == ["Deadline missed"] * 2


_READ = """
import json, time
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
folder = {folder!r}
started = time.process_time()
bag = BundleDagBag(folder, bundle_path=Path(folder), bundle_name="dags-folder")
print(json.dumps({{
    "errors": bag.import_errors,
    "seconds": time.process_time() - started,
    "dags": {{
        dag.dag_id: {{
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "timeout": bool(dag.dagrun_timeout),
            "tasks": {{
                task.task_id: {{
                    "retries": task.retries,
                    "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                    "alerts": bool(task.on_failure_callback),
                    "arguments": getattr(task, "arguments", []),
                }}
                for task in dag.tasks
            }},
        }}
        for dag in bag.dags.values()
    }},
}}))
"""


def test_the_dags_are_read_without_errors_and_fast(tmp_path: Path) -> None:
    variables = {name.upper(): "test.d.t" for name in BatchSettings.__struct_fields__}
    variables |= {"STEPS_RUN_ON": "processes", "AIRFLOW_HOME": str(tmp_path)}
    python = PROGRAM.with_name("python")
    found = told_by_airflow(python, _READ.format(folder=str(program.DAGS)), variables)
    assert found["errors"] == {}
    assert found["seconds"] < 10  # CPU; Airflow gives up on a file after 30
    assert DAILY_DAG in found["dags"]
    for dag in found["dags"].values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        # `airflow dags test` counts it from the logical date: a scheduler would fail the run meanwhile.
        assert not dag["timeout"]
        for name, task in dag["tasks"].items():
            assert task["retries"] >= 1, name
            assert task["timeout"], name
            assert task["alerts"], name
    # The parameters of the Flex Template's launch, which takes what it does not know for nothing.
    asked = {argument.split("=")[0] for argument in found["dags"][DAILY_DAG]["tasks"]["score"]["arguments"]}
    assert asked <= {f"--{name}" for name in score.ScoreOptions().get_all_options()}


def test_steps_are_told_the_settings_of_the_batch_commands() -> None:
    text = "".join(file.read_text() for file in program.DAGS.glob("forecast_*.py"))
    for name in BatchSettings.__struct_fields__:
        assert f'"{name.upper()}",' in text
    read = set(re.findall(r'os\.environ\["([A-Z_]+)"\]', text))
    assert {name.lower() for name in read} <= set(DagSettings.__struct_fields__)
