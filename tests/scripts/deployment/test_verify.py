"""`scripts/verify` on an environment in the cloud: a fake cluster, emulated Pub/Sub and BigQuery."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from google.api_core.retry import Retry
from google.cloud import bigquery, pubsub_v1

from infra import environment
from infra.environment import Environment
from scripts.deployment import rollout, verify
from scripts.deployment.verify import Check
from scripts.messages import publish, subscriptions
from services.bigquery import connect
from services.contracts import names
from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction
from tests.conftest import Models, Process, Service, free_port, service
from tests.scripts.conftest import DEPLOYMENTS, GATEWAY, PROGRAMMED, Cluster, deployment

FORECAST: dict[str, Any] = {
    "success": True,
    "model": {"version": "v1", "planned_until": None},
    "prediction": [
        {"date": f"2024-03-0{day}", "store_nbr": "1", "family": "A", "sales": 1, "lower": 0, "upper": 2}
        for day in range(1, 1 + verify.DAYS)
    ],
}
CHECKS = [
    "cluster",
    "rollout of prediction",
    "rollout of streaming",
    "address of the Gateway",
    "forecast over HTTP",
    "active request over Pub/Sub",
    "passive request over Pub/Sub",
]


@pytest.fixture
def staging(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose Gateway is the fake cluster; nothing answers yet."""
    monkeypatch.setattr(rollout, "ClusterManagerClient", lambda: cluster.manager)
    monkeypatch.setattr(verify, "_PATIENCE_SECONDS", 1.0)
    for module in (subscriptions, publish):
        monkeypatch.setattr(module, "RETRY", Retry(timeout=1.0))
    unused = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", unused)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://{unused}")
    target = environment.load("staging")
    assert target.gateway is not None
    public = {"hostname": cluster.address, "iap_members": (), "public": True}
    return target.model_copy(update={"gateway": target.gateway.model_copy(update=public)})


def deploy(cluster: Cluster) -> None:
    cluster.runs()
    for workload in ("prediction", "streaming"):
        cluster.answers[f"{DEPLOYMENTS}/{workload}"] = [deployment(updated=2, available=2)]
    cluster.answers[GATEWAY] = [PROGRAMMED]
    cluster.answers["/predict"] = [FORECAST]


@pytest.fixture
def streaming(
    staging: Environment,
    shared_models: Models,
    pubsub_emulator: Process,
    bigquery_emulator: Process,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Service]:
    """The streaming service, not started yet, and the resources of the messaging and data stacks."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{pubsub_emulator.port}")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_emulator.url)
    project = f"projects/{staging.project_id}"
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    subscriptions = {
        names.SALE_RANGE_TOPIC: names.PREDICT_RANGE_SUBSCRIPTION,
        names.SALE_PREDICTIONS_TOPIC: names.SALE_PREDICTIONS_SUBSCRIPTION,
        names.DEAD_LETTER_TOPIC: names.DEAD_LETTER_TOPIC,
    }
    paths = {
        f"{project}/topics/{topic}": f"{project}/subscriptions/{each}"
        for topic, each in subscriptions.items()
    }
    for topic, subscription in paths.items():
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic)
    table = f"{staging.project_id}.{names.PREDICTIONS_DATASET}.{names.PREDICTIONS_TABLE}"
    columns = [bigquery.SchemaField.from_api_repr(column) for column in bigquery_schema(Prediction)]
    with connect(staging.project_id) as client:
        client.create_dataset(names.PREDICTIONS_DATASET)
        client.create_table(bigquery.Table(table, columns))
    shared_models.publish("v1")
    command = [*bigquery_emulator.command]
    worker = service(
        "services.streaming",
        {
            **shared_models.environment,
            "PUBSUB_EMULATOR_HOST": os.environ["PUBSUB_EMULATOR_HOST"],
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{command[command.index('--grpc-port') + 1]}",
            "SUBSCRIPTION": f"{project}/subscriptions/{names.PREDICT_RANGE_SUBSCRIPTION}",
            "REPLY_TOPIC": f"{project}/topics/{names.SALE_PREDICTIONS_TOPIC}",
            "DEAD_LETTER_TOPIC": f"{project}/topics/{names.DEAD_LETTER_TOPIC}",
            "PREDICTIONS_TABLE": table,
        },
        tmp_path / "streaming.log",
    )
    yield worker
    worker.kill()
    with connect(staging.project_id) as client:
        client.delete_dataset(names.PREDICTIONS_DATASET, delete_contents=True)
    for topic, subscription in paths.items():
        subscriber.delete_subscription(subscription=subscription)
        publisher.delete_topic(topic=topic)


def failures(checks: list[Check]) -> dict[str, str]:
    assert [check.name for check in checks] == CHECKS
    return {check.name: check.detail for check in checks if not check.passed}


def test_environment_that_works(
    cluster: Cluster, staging: Environment, streaming: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_PATIENCE_SECONDS", 30.0)
    deploy(cluster)
    streaming.start()
    streaming.wait_ready()
    checks = verify.run(staging)
    assert failures(checks) == {}
    details = {check.name: check.detail for check in checks}
    assert details["cluster"] == f"answers at https://{cluster.address}"
    assert details["address of the Gateway"] == "203.0.113.7"
    assert details["forecast over HTTP"] == "7 days of 1 series, model v1"
    assert details["active request over Pub/Sub"].startswith(f"reply with {7 * len(Models.SERIES)} rows")
    assert details["passive request over Pub/Sub"].startswith(f"{7 * len(Models.SERIES)} rows in")
    replies = f"projects/{staging.project_id}/subscriptions/{names.SALE_PREDICTIONS_SUBSCRIPTION}"
    assert (
        len(subscriptions.take(pubsub_v1.SubscriberClient(), replies)) == 1
    )  # other subscribers have it, too


def test_streaming_does_not_answer(cluster: Cluster, staging: Environment, streaming: Service) -> None:
    deploy(cluster)
    failed = failures(verify.run(staging))
    look = "look at `kubectl --namespace sales-forecast logs deployment/streaming`"
    assert failed.keys() == {"active request over Pub/Sub", "passive request over Pub/Sub"}
    assert f"no reply on sale-predictions within 1 s; {look}" in failed["active request over Pub/Sub"]
    assert look in failed["passive request over Pub/Sub"]


def test_nothing_is_deployed(staging: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    checks = verify.run(staging)
    with mock.patch.object(verify, "run", return_value=checks):
        assert verify.main(["staging"]) == 1
    table = capsys.readouterr().out
    assert all(name in table for name in CHECKS)
    assert table.count("✗") == len(CHECKS)
    failed = failures(checks)
    for name in CHECKS[:4]:
        assert "404" in failed[name]
        assert "is staging-cluster deployed" in failed[name]
    assert "look at `kubectl --namespace sales-forecast logs deployment/prediction`" in failed[CHECKS[4]]
    for name in CHECKS[5:]:
        assert "cannot ask on sale-range: " in failed[name]
        assert "is messaging deployed" in failed[name]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"success": True}, "no forecast, Object missing required field"),
        ({**FORECAST, "prediction": FORECAST["prediction"][1:]}, "6 rows for 1 series"),
    ],
)
def test_the_gateway_answers_something_else(
    cluster: Cluster, staging: Environment, answer: dict[str, Any], found: str
) -> None:
    cluster.answers["/predict"] = [answer]
    with pytest.raises(verify.CommandError, match=f"{found}.*look at `kubectl"):
        verify.check_http(staging)
