"""The DAGs under a real Airflow, with real steps against the emulators."""

import datetime
import email
import http.server
import json
import re
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.cloud.dataflow_v1beta3.types import LaunchFlexTemplateParameter, WorkerIPAddressConfiguration
from google.protobuf.json_format import ParseDict

from scripts import airflow as program
from scripts.airflow import PROGRAM, Airflow
from scripts.steps import ROOT
from services.batch import compare
from services.batch.warehouse import SalesTable
from services.contracts.settings import BatchSettings, DagSettings, from_environment, to_environment
from services.forecasting import artifact
from tests.batch.conftest import Warehouse
from tests.batch.sales import SERIES, small_sales

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="Airflow is absent: run `make install-airflow`")

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


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    for server in inbox.servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def airflow(tmp_path: Path, warehouse: Warehouse, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    for name, value in warehouse.environment.items():
        monkeypatch.setenv(name, value)
    batch = from_environment(BatchSettings, warehouse.environment)
    variables = {**warehouse.environment, **to_environment(program.settings(batch)), **inbox.environment}
    airflow = Airflow(tmp_path / "airflow", variables)
    airflow.prepare()
    return airflow


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


@pytest.mark.slow
def test_a_day_from_sales_to_scores_and_once_more_with_late_rows(
    airflow: Airflow, warehouse: Warehouse, inbox: Inbox
) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST, 200))
    run = airflow.try_run(RUN, {"horizon": DAYS})
    assert states(airflow, run) == {
        **dict.fromkeys(("check_day", "validate", "extract", "train", "backtest", "compare"), "success"),
        **dict.fromkeys(("decide", "publish", "score", "kept", "check_scores", "notify"), "success"),
        **dict.fromkeys(("keep", "reject"), "skipped"),
    }
    pointer = warehouse.registry.pointer()
    assert pointer is not None
    version = pointer[0].version
    forecast = warehouse.registry.load(version).forecast
    expected = [
        (RUN, version, row.date, row.store_nbr, row.family, row.sales, row.lower, row.upper, None)
        for row in forecast.rows(DAYS, range(len(SERIES)))
    ]
    assert scores(warehouse) == sorted(expected, key=str)
    assert airflow.tasks(run)["check_scores"]["result"]["rows"] == DAYS * len(SERIES)
    assert [mail.splitlines()[0] for mail in inbox.mails] == ["[local] Run complete: sales_forecast.notify"]
    assert inbox.events == []


@pytest.mark.slow
def test_a_worse_model_is_refused_and_people_are_told(
    airflow: Airflow, warehouse: Warehouse, inbox: Inbox
) -> None:
    # What is published claims to be far better than anything that can be trained.
    models = warehouse.models
    models.upload("wonder")
    manifest, files = artifact.read(models.folder / "wonder")
    good = {
        level: msgspec.structs.replace(score, mase=0.01) for level, score in manifest.backtest.model.items()
    }
    manifest = msgspec.structs.replace(
        manifest,
        last_date=LAST,
        backtest=msgspec.structs.replace(manifest.backtest, model=good),
    )
    assert compare.error(manifest) < 0.1
    name = "sales/wonder/manifest.json"
    models.bucket.blob(name).upload_from_string(msgspec.json.encode(manifest))
    models.registry.publish("wonder")
    assert files
    SalesTable(warehouse.table).replace(small_sales(LAST, 200))
    run = airflow.try_run(RUN, {"horizon": DAYS})
    found = states(airflow, run)
    assert (found["publish"], found["keep"], found["reject"]) == ("skipped", "skipped", "success")
    pointer = models.registry.pointer()
    assert pointer is not None
    assert pointer[0].version == "wonder"
    # Its forecast is of other days: a clear failure, and no rows.
    assert found["score"] == "failed"
    assert scores(warehouse) == []
    subjects = [mail.splitlines()[0] for mail in inbox.mails]
    assert subjects == [
        "[local] Model rejected: sales_forecast.reject",
        "[local] Task failed: sales_forecast.score",
    ]
    assert "of the seasonal naive's" in inbox.mails[0]
    check_event(inbox.events[0], "warning")
    check_event(inbox.events[1], "error")


def test_a_missing_day_fails_at_once_and_people_are_told(
    airflow: Airflow, warehouse: Warehouse, inbox: Inbox
) -> None:
    SalesTable(warehouse.table).replace(small_sales(LAST - datetime.timedelta(days=1), 200))
    run = airflow.try_run(RUN)
    task = airflow.tasks(run)["check_day"]
    assert (task["state"], task["tries"]) == ("failed", 1)  # not tried again: it would be of no use
    (event,) = inbox.events
    check_event(event, "error")
    (mail,) = inbox.mails
    assert mail.startswith("[local] Task failed: sales_forecast.check_day\noncall@example.com\n")
    for text in (mail, event["payload"]["custom_details"]["text"]):
        assert "has no sales of 2024-06-30; the newest is 2024-06-29" in text
        assert "owner: sales-forecast" in text
        assert "runbook: docs/runbook.md#task-failed" in text
    assert scores(warehouse) == []


_CLOUD = """
import ast, json, sys, zipfile
sys.path.insert(0, {dags!r})
import forecast_steps

def parameters(name, wheels):
    found = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if "/operators/" not in member or not member.endswith(".py"):
                    continue
                for node in ast.parse(archive.read(member)).body:
                    if isinstance(node, ast.ClassDef) and node.name == name:
                        for item in node.body:
                            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                                found |= {{each.arg for each in item.args.args + item.args.kwonlyargs}}
    return found

wheels = {wheels!r}
pod = forecast_steps.pod_arguments("train", ["--snapshot=x"], "2", "4Gi")
job = forecast_steps.dataflow_arguments(["--run_date=2024-07-01", "--query=SELECT 1 = 1"])
known = parameters("GKEStartPodOperator", wheels) | parameters("KubernetesPodOperator", wheels)
print(json.dumps({{
    "pod": pod, "job": job["body"], "unknown": sorted(
        (pod.keys() | {{"on_finish_action"}}) - known
        | job.keys() - parameters("DataflowStartFlexTemplateOperator", wheels)
    ),
}}))
"""


def test_what_operators_of_the_cloud_are_told(tmp_path: Path) -> None:
    """Against signatures in the provider's wheels and types of Dataflow's API; none is installed."""
    wheels = [str(wheel) for wheel in sorted((ROOT / "build" / "operators").glob("*.whl"))]
    if len(wheels) != 2:
        pytest.skip("the operators' wheels are absent: run `make install-airflow`")
    google = {name.upper(): f"a-{name}" for name in DagSettings.__struct_fields__}
    google |= {"STEPS_RUN_ON": "google", "DATAFLOW_MAX_WORKERS": "3", "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [PROGRAM.parent / "python", "-c", _CLOUD.format(dags=str(program.DAGS), wheels=wheels)],
        env={"PATH": "/usr/bin:/bin", **google},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["unknown"] == []
    launch = ParseDict(found["job"]["launchParameter"], LaunchFlexTemplateParameter.pb()())
    assert launch.environment.max_workers == 3
    assert launch.environment.ip_configuration == WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert dict(launch.parameters) == {"run_date": "2024-07-01", "query": "SELECT 1 = 1"}
    (container,) = found["pod"]["pod_template_dict"]["spec"]["containers"]
    assert container["image"] == "a-steps_image"
    told = {each["name"]: each["value"] for each in container["env"]}
    assert (
        from_environment(
            BatchSettings,
            told
            | {"STAGING_DATASET": "a.b"}
            | dict.fromkeys(("SALES_TABLE", "SCORES_TABLE", "TRANSIENT_SCORES_TABLE"), "a.b.c"),
        ).model_bucket
        == "a-model_bucket"
    )


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
            "tasks": {{
                task.task_id: {{
                    "retries": task.retries,
                    "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                    "alerts": bool(task.on_failure_callback),
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
    done = subprocess.run(
        [PROGRAM.parent / "python", "-c", _READ.format(folder=str(program.DAGS))],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert found["seconds"] < 10  # CPU; Airflow gives up on a file after 30
    assert "sales_forecast" in found["dags"]
    for dag in found["dags"].values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        for name, task in dag["tasks"].items():
            assert task["retries"] >= 1, name
            assert task["timeout"], name
            assert task["alerts"], name


def test_steps_are_told_the_settings_of_the_batch_commands() -> None:
    text = (program.DAGS / "forecast_steps.py").read_text()
    for name in BatchSettings.__struct_fields__:
        assert f'"{name.upper()}",' in text
    read = set(re.findall(r'os\.environ\["([A-Z_]+)"\]', text))
    assert {name.lower() for name in read} <= set(DagSettings.__struct_fields__)
