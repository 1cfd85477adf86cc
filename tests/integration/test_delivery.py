"""The three ways in which Pub/Sub delivers a request: pulled, pushed with a token, to BigQuery."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.simulator import emulators, issuer, processes
from infra.simulator.bridge import PushTarget
from services.contracts.schema import bigquery_schema
from services.contracts.settings import StreamingSettings, to_environment
from services.contracts.tables import Request
from services.streaming.push import MAX_BODY_BYTES
from tests.conftest import Models, Process, free_port, wait_for
from tests.integration.conftest import PROJECT, Cloud, Terraform

ENDPOINT = "https://forecast.example.com/push"
ACCOUNT = f"push@{PROJECT}.iam.gserviceaccount.com"


def stack() -> dict[str, Any]:
    def subscription(name: str, topic: str = "requests", **more: Any) -> dict[str, Any]:
        return {"name": name, "topic": f"${{google_pubsub_topic.{topic}.id}}", **more}

    token = {"service_account_email": ACCOUNT, "audience": ENDPOINT}
    return {
        "google_bigquery_dataset": {"received": {"dataset_id": "received", "location": "EU"}},
        "google_bigquery_table": {
            "requests": {
                "dataset_id": "${google_bigquery_dataset.received.dataset_id}",
                "table_id": "requests",
                "schema": json.dumps(bigquery_schema(Request)),
                "deletion_protection": False,
            }
        },
        "google_bigquery_table_iam_member": {
            "requests": {
                "dataset_id": "${google_bigquery_table.requests.dataset_id}",
                "table_id": "${google_bigquery_table.requests.table_id}",
                "role": "roles/bigquery.dataEditor",
                "member": "serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com",
                # The agent is made with a project's first topic.
                "depends_on": ["google_pubsub_topic.requests"],
            }
        },
        "google_pubsub_topic": {name: {"name": name} for name in ("requests", "pulled", "pushed", "dead")},
        "google_pubsub_subscription": {
            "pull": subscription("pull"),
            "push": subscription(
                "push",
                push_config={"push_endpoint": ENDPOINT, "oidc_token": token},
                retry_policy={"minimum_backoff": "1s", "maximum_backoff": "1s"},
            ),
            "save": subscription(
                "save",
                bigquery_config={"table": f"{PROJECT}.received.requests", "write_metadata": True},
                depends_on=["google_bigquery_table_iam_member.requests"],
            ),
            "pulled": subscription("pulled", "pulled"),
            "pushed": subscription("pushed", "pushed"),
            "dead": subscription("dead", "dead"),
        },
    }


@pytest.fixture
def model(storage_emulator: Process, tmp_path: Path) -> Models:
    models = Models(storage_emulator.url, tmp_path / "models")
    models.publish("v1")
    return models


@pytest.fixture
def stopping() -> Iterator[list[str]]:
    """Containers to stop in the end."""
    names: list[str] = []
    yield names
    processes.stop(names)


def run(cloud: Cloud, models: Models, stopping: list[str], delivery: Any, **more: Any) -> str:
    """Start the service as the kubelet does; returns its address."""
    settings = StreamingSettings(
        model_bucket=models.bucket_name,
        subscription=f"projects/{PROJECT}/subscriptions/{delivery}",
        reply_topic=f"projects/{PROJECT}/topics/{delivery}ed",
        dead_letter_topic=f"projects/{PROJECT}/topics/dead",
        predictions_table=f"{PROJECT}.received.predictions",
        delivery=delivery,
        host="127.0.0.1",
        port=free_port(),
        **more,
    )
    stopping.append(f"container.test.{delivery}")
    processes.start(
        stopping[-1],
        [sys.executable, "-m", "services.streaming"],
        processes.base_environment()
        | cloud.endpoints.environment
        | issuer.environment()
        | models.environment
        | to_environment(settings),
        grace_seconds=10,
    )
    url = f"http://127.0.0.1:{settings.port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz").is_success
        except httpx.TransportError:
            return False

    wait_for(f"{delivery} service is ready", ready)
    return url


def bodies(cloud: Cloud, subscription: str) -> list[bytes]:
    answer = cloud.pubsub(
        "POST", f"subscriptions/{subscription}:pull", {"maxMessages": 10, "returnImmediately": True}
    )
    return [base64.b64decode(each["message"]["data"]) for each in answer.get("receivedMessages", [])]


def test_pulled_pushed_and_written_to_bigquery(
    cloud: Cloud, terraform: Terraform, model: Models, stopping: list[str]
) -> None:
    terraform.apply(stack())
    assert terraform.plan() == {}
    request = json.dumps({"request_id": "r", "range": 2, "store_nbr": "1", "mode": "active"}).encode()

    # Published before a service runs.
    cloud.pubsub(
        "POST", "topics/requests:publish", {"messages": [{"data": base64.b64encode(request).decode()}]}
    )
    run(cloud, model, stopping, "pull")
    url = run(cloud, model, stopping, "push", push_audience=ENDPOINT, push_account=ACCOUNT)

    (pulled,) = wait_for("reply to the pulled request", lambda: bodies(cloud, "pulled"))
    (pushed,) = wait_for("reply to the pushed request", lambda: bodies(cloud, "pushed"))
    assert pulled == pushed
    assert json.loads(pushed)["request_id"] == "r"
    wait_for("the row", lambda: cloud.query("SELECT data FROM received.requests"))
    assert cloud.query("SELECT data FROM received.requests") == [[base64.b64encode(request).decode()]]

    # Pushes without a token or with another one are refused.
    body: dict[str, Any] = {
        "message": {"data": "Nw==", "messageId": "m", "publishTime": "2026-01-01T00:00:00Z"},
        "subscription": "projects/p/subscriptions/s",
    }
    assert httpx.post(f"{url}/push", json=body).status_code == 401
    for account, audience in ((ACCOUNT, "https://elsewhere/push"), ("somebody@else", ENDPOINT)):
        token = {"Authorization": f"Bearer {issuer.token(account, audience)}"}
        assert httpx.post(f"{url}/push", json=body, headers=token).status_code == 401
    token = {"Authorization": f"Bearer {issuer.token(ACCOUNT, ENDPOINT)}"}
    assert httpx.post(f"{url}/push", content=b"7", headers=token).status_code == 400
    assert httpx.post(f"{url}/push", content=b"x" * (MAX_BODY_BYTES + 1), headers=token).status_code == 413
    assert httpx.get(f"{url}/push", headers=token).status_code == 405
    poison = body | {"message": body["message"] | {"data": base64.b64encode(b"seven").decode()}}
    assert httpx.post(f"{url}/push", json=poison, headers=token).status_code == 204
    assert wait_for("dead letter", lambda: bodies(cloud, "dead")) == [b"seven"]

    # A restarted issuer has a new key, which the service fetches.
    cloud.kill("emulator.issuer")
    assert terraform.plan() == {"google_pubsub_subscription.push": "update"}


_ANSWERS = """\
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        push = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(int(push["message"]["messageId"]))
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.mark.usefixtures("cloud")
def test_only_some_answers_acknowledge_a_push(stopping: list[str]) -> None:
    """https://cloud.google.com/pubsub/docs/push#receive_push"""
    issuer.ensure()
    port = free_port()
    stopping.append("container.test.answers")
    environment = processes.base_environment() | {"PORT": str(port), "PUSH_AUDIENCE": ENDPOINT}
    processes.start(stopping[-1], [sys.executable, "-c", _ANSWERS], environment, grace_seconds=1)
    wait_for("the server", lambda: not emulators.is_free(port))
    statuses = ["200", "201", "202", "203", "204", "205", "206", "302", "400", "503"]
    received = [{"ackId": each, "message": {"messageId": each}} for each in statuses]
    accepted = PushTarget(ENDPOINT, ACCOUNT, ENDPOINT).deliver(received, "projects/p/subscriptions/s")
    assert accepted == {"200", "201", "202", "204"}
