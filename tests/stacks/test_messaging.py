"""Topics, subscriptions, and what Pub/Sub itself must be allowed."""

import json

import pytest

from services.contracts.messages import SalePrediction
from services.contracts.schema import avro_schema
from tests.stacks.synthesized import Stack, Synthesis

TOPICS = "projects/sales-forecast-prod/topics"
SERVICE_AGENT = "serviceAccount:service-100000000004@gcp-sa-pubsub.iam.gserviceaccount.com"


@pytest.fixture
def messaging(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-messaging")


def test_requests_have_no_schema(messaging: Stack) -> None:
    assert set(messaging.one("google_pubsub_topic", name="sale-range")) == {"name"}


def test_replies_have_the_schema_of_the_contracts(messaging: Stack) -> None:
    schema = messaging.one("google_pubsub_schema", name="sale-predictions", type="AVRO")
    assert json.loads(schema["definition"]) == avro_schema(SalePrediction)
    messaging.one(
        "google_pubsub_topic",
        name="sale-predictions",
        schema_settings={
            "schema": "projects/sales-forecast-prod/schemas/sale-predictions",
            "encoding": "JSON",
        },
        depends_on=[messaging.address("google_pubsub_schema", name="sale-predictions")],
    )


def test_requests_are_pulled_and_retried_and_given_up(messaging: Stack) -> None:
    messaging.one(
        "google_pubsub_subscription",
        name="predict-range",
        topic=f"{TOPICS}/sale-range",
        ack_deadline_seconds=60,
        retry_policy={"minimum_backoff": "10s", "maximum_backoff": "600s"},
        dead_letter_policy={
            "dead_letter_topic": f"{TOPICS}/sale-range-dead-letter",
            "max_delivery_attempts": 5,
        },
    )


def test_pubsub_may_move_dead_letters(messaging: Stack) -> None:
    """Both grants, or messages are delivered again for ever."""
    messaging.one(
        "google_pubsub_topic_iam_member",
        topic="sale-range-dead-letter",
        role="roles/pubsub.publisher",
        member=SERVICE_AGENT,
    )
    messaging.one(
        "google_pubsub_subscription_iam_member",
        subscription="predict-range",
        role="roles/pubsub.subscriber",
        member=SERVICE_AGENT,
    )


def test_requests_reach_their_table(messaging: Stack) -> None:
    grant = messaging.address(
        "google_bigquery_table_iam_member",
        dataset_id="predictions",
        table_id="requests",
        role="roles/bigquery.dataEditor",
        member=SERVICE_AGENT,
    )
    subscription = messaging.one(
        "google_pubsub_subscription",
        topic=f"{TOPICS}/sale-range",
        bigquery_config={"table": "sales-forecast-prod.predictions.requests", "write_metadata": True},
    )
    assert grant in subscription["depends_on"]


@pytest.mark.parametrize("topic", ["sale-range-dead-letter", "sale-predictions"])
def test_somebody_can_read(messaging: Stack, topic: str) -> None:
    messaging.one("google_pubsub_subscription", name=topic, topic=f"{TOPICS}/{topic}")


def test_no_subscription_expires_or_forgets_within_a_week(messaging: Stack) -> None:
    subscriptions = messaging.all("google_pubsub_subscription")
    assert len(subscriptions) == 4
    for subscription in subscriptions.values():
        assert subscription["expiration_policy"] == {"ttl": ""}
        assert subscription["message_retention_duration"] == "604800s"
