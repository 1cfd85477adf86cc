"""Surroundings of the streaming service: topics, subscriptions and a table for each test."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from google import pubsub_v1
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.pubsub_v1.types import Encoding, Schema, SchemaSettings

from services.contracts.messages import SalePrediction
from services.contracts.names import LATEST_PREDICTIONS_VIEW
from services.contracts.schema import avro_schema, bigquery_schema
from services.contracts.tables import Prediction
from tests.conftest import Models, Process, Service, service, wait_for
from tests.stacks.synthesized import committed

PROJECT = "test-project"
LEASE_SECONDS = 10


def grpc_address(bigquery_server: Process) -> str:
    command = [*bigquery_server.command]
    return f"127.0.0.1:{command[command.index('--grpc-port') + 1]}"


class Surroundings:
    """Topics, subscriptions, a table, a model registry and the service."""

    def __init__(self, models: Models, pubsub: Process, bigquery_server: Process, folder: Path) -> None:
        self.models = models
        self.pubsub = pubsub
        self.bigquery_server = bigquery_server
        self._unique = uuid.uuid4().hex[:8]
        # The clients read the address of the emulator when they are created.
        with mock.patch.dict(os.environ, {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.port}"}):
            self.publisher = pubsub_v1.PublisherClient()
            self.subscriber = pubsub_v1.SubscriberClient()
            self.schemas = pubsub_v1.SchemaServiceClient()
        self.bigquery = bigquery.Client(
            PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": bigquery_server.url},
        )
        self.topic = self._name("topics", "sale-range")
        self.subscription = self._name("subscriptions", "predict-range")
        self.reply_topic = self._name("topics", "sale-predictions")
        self.replies = self._name("subscriptions", "replies")
        self.dead_letter_topic = self._name("topics", "dead-letter")
        self.dead_letters = self._name("subscriptions", "dead-letters")
        self.table = f"{PROJECT}.predictions.predictions_{self._unique}"
        self._view = f"{PROJECT}.predictions.{LATEST_PREDICTIONS_VIEW}_{self._unique}"
        self.create_topics()
        self.create_table()
        self.service: Service = service(
            "services.streaming",
            {
                **models.environment,
                "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.port}",
                "BIGQUERY_STORAGE_EMULATOR_HOST": grpc_address(bigquery_server),
                "SUBSCRIPTION": self.subscription,
                "REPLY_TOPIC": self.reply_topic,
                "DEAD_LETTER_TOPIC": self.dead_letter_topic,
                "PREDICTIONS_TABLE": self.table,
            },
            folder / "service.log",
        )

    def _name(self, kind: str, name: str) -> str:
        return f"projects/{PROJECT}/{kind}/{name}-{self._unique}"

    def create_topics(self) -> None:
        """Create them as the messaging stack does; the emulator loses them when it stops."""
        schema = self.schemas.create_schema(
            parent=f"projects/{PROJECT}",
            schema=Schema(type_=Schema.Type.AVRO, definition=json.dumps(avro_schema(SalePrediction))),
            schema_id=f"sale-prediction-{self._unique}",
        )
        self.publisher.create_topic(name=self.topic)
        self.publisher.create_topic(
            request={
                "name": self.reply_topic,
                "schema_settings": SchemaSettings(schema=schema.name, encoding=Encoding.JSON),
            }
        )
        self.publisher.create_topic(name=self.dead_letter_topic)
        self.subscribe()
        for subscription, topic in (
            (self.replies, self.reply_topic),
            (self.dead_letters, self.dead_letter_topic),
        ):
            self.subscriber.create_subscription(
                name=subscription, topic=topic, ack_deadline_seconds=LEASE_SECONDS
            )

    def subscribe(self, **more: Any) -> None:
        """Create the subscription that the service pulls."""
        self.subscriber.create_subscription(
            request={
                "name": self.subscription,
                "topic": self.topic,
                "ack_deadline_seconds": LEASE_SECONDS,
                **more,
            }
        )

    def subscribe_anew(self, **more: Any) -> None:
        """Replace the subscription by one with other properties."""
        self.subscriber.delete_subscription(subscription=self.subscription)
        self.subscribe(**more)

    def create_table(self) -> None:
        self.bigquery.create_dataset("predictions", exists_ok=True)
        self.bigquery.create_table(
            bigquery.Table(
                self.table, [bigquery.SchemaField.from_api_repr(c) for c in bigquery_schema(Prediction)]
            )
        )

    def publish(self, *bodies: bytes, **attributes: str) -> list[str]:
        """Publish requests; returns their message ids."""
        messages = [pubsub_v1.PubsubMessage(data=body, attributes=attributes) for body in bodies]
        return list(self.publisher.publish(topic=self.topic, messages=messages).message_ids)

    def receive(self, subscription: str, number: int, seconds: float = 20) -> list[pubsub_v1.PubsubMessage]:
        """Pull and acknowledge at least `number` messages."""
        received: list[pubsub_v1.PubsubMessage] = []

        def enough() -> bool:
            try:
                batch = self.subscriber.pull(
                    subscription=subscription, max_messages=1000, retry=None, timeout=1
                ).received_messages
            except exceptions.DeadlineExceeded:
                batch = []
            if batch:
                self.subscriber.acknowledge(
                    subscription=subscription, ack_ids=[message.ack_id for message in batch]
                )
            received.extend(message.message for message in batch)
            return len(received) >= number

        wait_for(f"{number} messages from {subscription}", enough, seconds)
        return received

    def rows(self) -> list[dict[str, Any]]:
        """All saved rows, by request, then in the order of an answer."""
        query = f"SELECT * FROM `{self.table}` ORDER BY request_id, store_nbr, family, date"  # noqa: S608
        return [dict(row) for row in self.bigquery.query(query).result()]

    def create_view(self, query: str) -> None:
        """Create the view of latest predictions."""
        view = bigquery.Table(self._view)
        view.view_query = query.format(table=self.table)
        self.bigquery.create_table(view)

    def latest(self) -> list[dict[str, Any]]:
        """The rows of the view, by request, then in the order of an answer."""
        query = f"SELECT * FROM `{self._view}` ORDER BY request_id, store_nbr, family, date"  # noqa: S608
        return [dict(row) for row in self.bigquery.query(query).result()]

    def wait_rows(self, number: int, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait for a number of saved rows; returns all of them."""
        wait_for(f"{number} rows", lambda: len(self.rows()) >= number, seconds)
        return self.rows()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 while the service does not respond."""
        try:
            lines = self.service.get("/metrics").text.splitlines()
        except httpx.TransportError:
            return 0
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def unacknowledged(self) -> list[bytes]:
        """Bodies of the requests that nobody has acknowledged, also of those that are leased."""
        snapshot = self.subscriber.create_snapshot(
            name=self._name("snapshots", "unacknowledged"), subscription=self.subscription
        )
        self.subscriber.seek(request={"subscription": self.subscription, "snapshot": snapshot.name})
        try:
            pulled = self.subscriber.pull(
                subscription=self.subscription, max_messages=1000, retry=None, timeout=2
            )
        except exceptions.DeadlineExceeded:
            return []
        return [message.message.data for message in pulled.received_messages]


@pytest.fixture
def surroundings(
    models: Models, pubsub_emulator: Process, bigquery_emulator: Process, tmp_path: Path
) -> Iterator[Surroundings]:
    """Topics, subscriptions, table, an empty registry, and a service that is not started."""
    surroundings = Surroundings(models, pubsub_emulator, bigquery_emulator, tmp_path)
    yield surroundings
    surroundings.service.kill()


@pytest.fixture
def running(surroundings: Surroundings) -> Surroundings:
    """The surroundings with model v1 published and the service ready."""
    surroundings.models.publish("v1")
    surroundings.service.start()
    surroundings.service.wait_ready()
    return surroundings


@pytest.fixture(scope="session")
def latest_predictions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The query of the deployed view of latest predictions, with `{table}` for the name of the table."""
    stack = committed(tmp_path_factory).stack("local-data")
    view = stack.one("google_bigquery_table", table_id=LATEST_PREDICTIONS_VIEW)["view"]
    query, found = re.subn("`[^`]+[.]predictions[.]predictions`", "`{table}`", view["query"])
    assert found == 1
    return query
