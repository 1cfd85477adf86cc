"""Topics, subscriptions, and what Pub/Sub itself must be allowed."""

import json

import pytest

from infra import environment
from services.contracts.messages import WITH_SCHEMA, SalePrediction
from services.contracts.schema import avro_schema
from services.contracts.settings import StreamingSettings, from_environment
from tests.stacks.synthesized import Stack, Synthesis

TOPICS = "projects/sales-forecast-prod/topics"
SERVICE_AGENT = "serviceAccount:service-100000000004@gcp-sa-pubsub.iam.gserviceaccount.com"


@pytest.fixture
def messaging(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-messaging")


def test_requests_have_no_schema_and_can_be_replayed(messaging: Stack) -> None:
    assert messaging.one("google_pubsub_topic", name="sale-range") == {
        "name": "sale-range",
        "project": "sales-forecast-prod",
        "message_retention_duration": f"{14 * 24 * 3600}s",
        "message_storage_policy": {"allowed_persistence_regions": ["europe-west1"]},
        "lifecycle": {"prevent_destroy": True},
    }


def test_no_topic_stores_messages_abroad(messaging: Stack) -> None:
    for topic in messaging.all("google_pubsub_topic").values():
        assert topic["message_storage_policy"] == {"allowed_persistence_regions": ["europe-west1"]}


def test_replies_have_the_schema_of_the_contracts(messaging: Stack) -> None:
    schema = messaging.one("google_pubsub_schema", name="sale-predictions", type="AVRO")
    assert json.loads(schema["definition"]) == avro_schema(SalePrediction)
    names = {
        json.loads(each["definition"])["name"] for each in messaging.all("google_pubsub_schema").values()
    }
    assert names == {each.__name__ for each in WITH_SCHEMA}, "their revisions are compared (tests/contracts)"
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
            "max_delivery_attempts": 20,
        },
    )
    messaging.none("google_pubsub_subscription", push_config={})


def test_requests_are_pushed_with_a_token_that_only_pubsub_can_mint(variants: Synthesis) -> None:
    messaging = variants.stack("pushed-messaging")
    hostname = environment.load("pushed", directory=variants.folder.parent).gateway
    assert hostname
    endpoint = f"https://{hostname.hostname}/push"
    email = "sales-forecast-push@sales-forecast-prod.iam.gserviceaccount.com"
    foundation = variants.stack("pushed-foundation")
    account = foundation.address("google_service_account", account_id="sales-forecast-push")
    may_sign_in = foundation.one(
        "google_service_account_iam_member",
        service_account_id=f"projects/sales-forecast-prod/serviceAccounts/{email}",
        role="roles/iam.serviceAccountTokenCreator",
        member=SERVICE_AGENT,
    )
    may_name_it = foundation.one(
        "google_service_account_iam_member",
        service_account_id=f"projects/sales-forecast-prod/serviceAccounts/{email}",
        role="roles/iam.serviceAccountUser",
        member="serviceAccount:sales-forecast-ci-apply@sales-forecast-prod.iam.gserviceaccount.com",
    )
    for grant in (may_sign_in, may_name_it):
        assert account in grant["depends_on"]
    subscription = messaging.one("google_pubsub_subscription", push_config={"push_endpoint": endpoint})
    assert subscription["name"] == "predict-range"
    assert subscription["push_config"]["oidc_token"] == {"service_account_email": email, "audience": endpoint}
    assert subscription["dead_letter_policy"]["max_delivery_attempts"] == 20


def test_the_streaming_service_knows_who_pushes_and_where_it_may_reply(variants: Synthesis) -> None:
    services = variants.stack("pushed-services")
    deployment = services.one("kubernetes_deployment_v1", metadata={"name": "streaming"})
    (container,) = deployment["spec"]["template"]["spec"]["container"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    settings = from_environment(StreamingSettings, variables)
    assert settings.delivery == "push"
    subscription = variants.stack("pushed-messaging").one("google_pubsub_subscription", name="predict-range")
    token = subscription["push_config"]["oidc_token"]
    assert token == {
        "service_account_email": settings.push_account,
        "audience": settings.push_audience,
    }
    assert settings.reply_topics == tuple(
        f"projects/sales-forecast-prod/topics/{name}" for name in ("shop-replies", "depot")
    )
    may_publish = services.all("google_pubsub_topic_iam_member").values()
    assert {each["topic"] for each in may_publish} == {
        *("sale-predictions", "shop-replies", "depot", "sale-range-dead-letter")
    }
    services.none("google_pubsub_subscription_iam_member")  # it is sent what it gets


def test_further_reply_topics_have_the_schema_and_a_reader(variants: Synthesis) -> None:
    messaging = variants.stack("pushed-messaging")
    path = "projects/sales-forecast-prod"
    for name in ("sale-predictions", "shop-replies", "depot"):
        messaging.one(
            "google_pubsub_topic",
            name=name,
            schema_settings={"schema": f"{path}/schemas/sale-predictions", "encoding": "JSON"},
        )
        messaging.one("google_pubsub_subscription", name=name, topic=f"{path}/topics/{name}")
    assert len(messaging.all("google_pubsub_schema")) == 1


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


def test_no_subscription_expires_or_forgets_within_two_weeks(messaging: Stack) -> None:
    subscriptions = messaging.all("google_pubsub_subscription")
    assert subscriptions
    for subscription in subscriptions.values():
        assert subscription["expiration_policy"] == {"ttl": ""}
        assert subscription["message_retention_duration"] == f"{14 * 24 * 3600}s"


def test_no_subscription_of_a_table_loses_messages(messaging: Stack) -> None:
    written = [
        each for each in messaging.all("google_pubsub_subscription").values() if "bigquery_config" in each
    ]
    assert written
    for each in written:
        topic = each["dead_letter_policy"]["dead_letter_topic"].rpartition("/")[2]
        assert topic != "sale-range-dead-letter", "those are requests to answer again"
        messaging.one("google_pubsub_subscription", topic=f"{TOPICS}/{topic}")
        messaging.one("google_pubsub_topic_iam_member", topic=topic, member=SERVICE_AGENT)
        messaging.one(
            "google_pubsub_subscription_iam_member", subscription=each["name"], member=SERVICE_AGENT
        )
