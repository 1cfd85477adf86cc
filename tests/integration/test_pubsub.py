"""Topics, schemas and subscriptions in the Pub/Sub emulator, by Terraform."""

import base64
from typing import Any

import httpx
import pytest

from tests.conftest import wait_for
from tests.integration.conftest import PROJECT, Cloud, Terraform

RECORD = '{"type":"record","name":"Reply","fields":[{"name":"text","type":"string"}]}'
AGENT = {"member": "serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com"}
POISON = {"messages": [{"data": base64.b64encode(b"poison").decode()}]}
DEAD, WORK = ["google_pubsub_topic.dead"], ["google_pubsub_subscription.work"]
GRANTS = {
    "google_pubsub_topic_iam_member": {
        "forward": {"topic": "dead", "role": "roles/pubsub.publisher", "depends_on": DEAD} | AGENT
    },
    "google_pubsub_subscription_iam_member": {
        "take": {"subscription": "work", "role": "roles/pubsub.subscriber", "depends_on": WORK} | AGENT
    },
}
WIDER = (
    '{"type":"record","name":"Reply",'
    '"fields":[{"name":"text","type":"string"},{"name":"n","type":"long","default":0}]}'
)


def stack(**changes: Any) -> dict[str, Any]:
    """Topics with and without a schema, and a subscription with dead letters and their grants.

    Keyword arguments replace arguments of the subscription.
    """
    subscription = {
        "name": "work",
        "topic": "${google_pubsub_topic.requests.id}",
        "labels": {"team": "sales"},
        "ack_deadline_seconds": 30,
        "message_retention_duration": "1200s",
        "retry_policy": {"minimum_backoff": "1s", "maximum_backoff": "1.5s"},
        "dead_letter_policy": {
            "dead_letter_topic": "${google_pubsub_topic.dead.id}",
            "max_delivery_attempts": 5,
        },
        "expiration_policy": {"ttl": ""},
    }
    return {
        "google_pubsub_schema": {"reply": {"name": "reply", "type": "AVRO", "definition": RECORD}},
        "google_pubsub_topic": {
            "requests": {"name": "requests", "message_retention_duration": "86400s", "labels": {"a": "b"}},
            "replies": {
                "name": "replies",
                "schema_settings": {"schema": "${google_pubsub_schema.reply.id}", "encoding": "JSON"},
            },
            "dead": {"name": "dead"},
        },
        "google_pubsub_subscription": {"work": subscription | changes},
        **GRANTS,
    }


def test_created_as_declared_and_empty_plan(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    work = cloud.pubsub("GET", "subscriptions/work")
    assert work["topic"] == f"projects/{PROJECT}/topics/requests"
    assert work["ackDeadlineSeconds"] == 30
    assert work["deadLetterPolicy"] == {
        "deadLetterTopic": f"projects/{PROJECT}/topics/dead",
        "maxDeliveryAttempts": 5,
    }
    assert terraform.state("google_pubsub_topic.replies")["id"] == f"projects/{PROJECT}/topics/replies"
    assert terraform.plan() == {}


def test_a_topic_enforces_its_schema(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    good, bad = (
        {"messages": [{"data": base64.b64encode(text).decode()}]} for text in (b'{"text": "hi"}', b"hi")
    )
    cloud.pubsub("POST", "topics/replies:publish", good)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        cloud.pubsub("POST", "topics/replies:publish", bad)
    cloud.pubsub("POST", "topics/requests:publish", bad)


def test_changes_in_place(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    message = {"messages": [{"data": base64.b64encode(b"kept").decode()}]}
    cloud.pubsub("POST", "topics/requests:publish", message)
    changed = stack(
        ack_deadline_seconds=60,
        labels={"team": "other"},
        retry_policy={"minimum_backoff": "2s", "maximum_backoff": "2s"},
        dead_letter_policy=[],
        expiration_policy={"ttl": "86400s"},
    )
    changed["google_pubsub_schema"]["reply"]["definition"] = WIDER
    changed["google_pubsub_topic"]["requests"]["message_retention_duration"] = "90000s"
    terraform.configure(changed)
    assert terraform.plan() == {
        "google_pubsub_schema.reply": "update",
        "google_pubsub_subscription.work": "update",
        "google_pubsub_topic.requests": "update",
    }
    terraform.apply()
    work = cloud.pubsub("GET", "subscriptions/work")
    assert work["ackDeadlineSeconds"] == 60
    assert work["retryPolicy"] == {"minimumBackoff": "2s", "maximumBackoff": "2s"}
    assert "deadLetterPolicy" not in work
    assert cloud.pubsub("GET", "schemas/reply")["definition"] == WIDER
    assert terraform.plan() == {}
    pulled = cloud.pubsub("POST", "subscriptions/work:pull", {"maxMessages": 1, "returnImmediately": True})
    assert pulled["receivedMessages"][0]["message"]["data"] == base64.b64encode(b"kept").decode()


def test_a_revision_that_cannot_read_messages_of_the_last_is_refused(terraform: Terraform) -> None:
    terraform.apply(stack())
    revised = stack()
    for field, reason in (
        ('{"name":"extra","type":"string"}', "field extra has no default"),
        ('{"name":"text","type":"long"}', "field text: type long cannot be read as string"),
    ):
        fields = RECORD[:-2].partition('"fields":[')[2] + "," if "extra" in field else ""
        definition = f'{{"type":"record","name":"Reply","fields":[{fields}{field}]}}'
        revised["google_pubsub_schema"]["reply"]["definition"] = definition
        assert reason in terraform.refused(revised)


def test_another_topic_replaces_the_subscription(terraform: Terraform) -> None:
    terraform.apply(stack())
    terraform.configure(stack(topic="${google_pubsub_topic.replies.id}"))
    assert terraform.plan() == {"google_pubsub_subscription.work": "replace"}


def test_drift_is_detected_and_repaired(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    name = f"projects/{PROJECT}/subscriptions/work"
    change = {"subscription": {"name": name, "ackDeadlineSeconds": 11}, "updateMask": "ackDeadlineSeconds"}
    cloud.pubsub("PATCH", "subscriptions/work", change)
    cloud.pubsub("DELETE", "topics/replies")
    assert terraform.plan() == {
        "google_pubsub_subscription.work": "update",
        "google_pubsub_topic.replies": "create",
    }
    # A subscription whose topic was deleted stays in Pub/Sub, cut off for good.
    cloud.pubsub("DELETE", "topics/requests")
    assert terraform.plan() == {
        "google_pubsub_subscription.work": "replace",
        "google_pubsub_topic.replies": "create",
        "google_pubsub_topic.requests": "create",
    }
    terraform.apply()
    # The grant, which names its subscription by text, went with the old one: Terraform sees it afterwards.
    assert terraform.plan() == {"google_pubsub_subscription_iam_member.take": "create"}
    terraform.apply()
    assert terraform.plan() == {}


def test_a_crash_of_the_emulator_shows_in_the_next_plan(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    cloud.kill("emulator.pubsub")
    assert terraform.plan() == {
        "google_pubsub_schema.reply": "create",
        "google_pubsub_subscription.work": "create",
        "google_pubsub_topic.dead": "create",
        "google_pubsub_topic.replies": "create",
        "google_pubsub_topic.requests": "create",
    }
    terraform.apply()
    assert terraform.plan() == {}
    assert cloud.pubsub("GET", "subscriptions/work")["ackDeadlineSeconds"] == 30


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no-topic": ({"topic": f"projects/{PROJECT}/topics/nowhere"}, "Subscription topic does not exist"),
    "no-table": (
        {"bigquery_config": {"table": "a.b.nowhere", "write_metadata": True}},
        "table a.b.nowhere does not exist: create it first, and let the subscription depend on it",
    ),
    "table-name": (
        {"bigquery_config": {"table": "a/b", "write_metadata": True}},
        "'a/b' is not of the form project.dataset.table",
    ),
    "topic-schema": (
        {"bigquery_config": {"table": "a.b.c", "use_topic_schema": True}},
        "bigquery_config: on a laptop, only with write_metadata and without a schema",
    ),
    "push-without-token": (
        {"push_config": {"push_endpoint": "https://example.com/push"}},
        "push_config: on a laptop, only with oidc_token and without no_wrapper",
    ),
    "cloud-storage": ({"cloud_storage_config": {"bucket": "b"}}, "cloud_storage_config has no counterpart"),
    "ordering": ({"enable_message_ordering": True}, "enable_message_ordering has no counterpart"),
    "exactly-once": (
        {"enable_exactly_once_delivery": True},
        "enable_exactly_once_delivery has no counterpart",
    ),
    "filter": ({"filter": 'attributes.kind = "x"'}, "filter has no counterpart on a laptop"),
}


def test_refused_subscriptions_are_not_created(cloud: Cloud, terraform: Terraform) -> None:
    resources = stack()
    del resources["google_pubsub_subscription_iam_member"]
    work = resources["google_pubsub_subscription"].pop("work")
    for name, (changes, _) in REFUSED.items():
        resources["google_pubsub_subscription"][name] = work | changes | {"name": name}
    message = terraform.refused(resources)
    for _, reason in REFUSED.values():
        assert reason in message
    assert cloud.pubsub("GET", "subscriptions") == {}


def test_an_existing_topic_is_not_taken_over(cloud: Cloud, terraform: Terraform) -> None:
    cloud.pubsub("PUT", "topics/dead", {})
    message = terraform.refused(stack())
    assert "Cannot create topic" in message
    assert "already exists" in message
    path = f"/v1/projects/{PROJECT}/topics/dead"
    assert f"curl -X DELETE 'http://{cloud.endpoints.pubsub}{path}'".replace(" ", "") in message.replace(
        " ", ""
    )
    cloud.pubsub("DELETE", "topics/dead")
    terraform.apply()


def test_retention_may_exceed_the_limit_of_the_emulator(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack(message_retention_duration="2678400s"))
    assert cloud.pubsub("GET", "subscriptions/work")["messageRetentionDuration"] == "604800s"
    assert terraform.state("google_pubsub_subscription.work")["message_retention_duration"] == "2678400s"
    assert terraform.plan() == {}
    terraform.configure(stack(message_retention_duration="86400s"))
    assert terraform.plan() == {"google_pubsub_subscription.work": "update"}
    terraform.apply()
    assert terraform.plan() == {}


def test_dead_letters_are_forwarded_only_with_both_grants(cloud: Cloud, terraform: Terraform) -> None:
    resources = stack(retry_policy=None)  # with any policy, the emulator redelivers only every two seconds
    for kind in GRANTS:
        del resources[kind]
    resources["google_pubsub_subscription"]["dead"] = {
        "name": "dead",
        "topic": "${google_pubsub_topic.dead.id}",
    }

    def not_forwarded() -> None:
        for _ in range(6):  # more than max_delivery_attempts
            wait_for("delivery", lambda: ids(cloud, "work"))
        assert not ids(cloud, "dead")

    forward, take = GRANTS
    terraform.apply(resources)
    cloud.pubsub("POST", "topics/requests:publish", POISON)
    not_forwarded()
    terraform.apply(resources | {forward: GRANTS[forward]})
    assert terraform.plan() == {}  # Google has the policy, with or without grants
    not_forwarded()
    terraform.apply(resources | GRANTS)
    assert terraform.plan() == {}
    wait_for("dead letter", lambda: (ids(cloud, "work"), ids(cloud, "dead"))[1])
    cloud.pubsub("POST", "subscriptions/dead:seek", {"time": "2100-01-01T00:00:00Z"})
    terraform.apply(resources | {take: GRANTS[take]})
    cloud.pubsub("POST", "topics/requests:publish", POISON)
    not_forwarded()


def ids(cloud: Cloud, subscription: str) -> list[str]:
    """Pull the messages that are there, and return them at once."""
    answer = cloud.pubsub(
        "POST", f"subscriptions/{subscription}:pull", {"maxMessages": 10, "returnImmediately": True}
    )
    found = [each["ackId"] for each in answer.get("receivedMessages", [])]
    if found:
        back = {"ackIds": found, "ackDeadlineSeconds": 0}
        cloud.pubsub("POST", f"subscriptions/{subscription}:modifyAckDeadline", back)
    return found
