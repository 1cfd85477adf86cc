"""Pub/Sub subscriptions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.cdk import Block, Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.google.dataset import DatasetTable
from infra.google.identity import Account, Principal
from infra.google.topic import Topic
from infra.monitoring.alerting import Severity, threshold_condition

WAITING: Final = "pubsub.googleapis.com/subscription/num_undelivered_messages"
OLDEST: Final = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"


@dataclass(frozen=True)
class PushDelivery:
    """The HTTPS endpoint of a push subscription, and the account of the tokens that Pub/Sub sends there."""

    endpoint: str
    account: Account


@dataclass(frozen=True)
class TableDelivery:
    """The table to which a subscription writes every message of its topic, with the metadata.

    It has the columns of https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata and `data`.
    """

    table: DatasetTable
    may_write: TerraformResource  # the grant that Pub/Sub requires for its service agent


@dataclass(frozen=True)
class MessageAlert:
    """What somebody has to know of messages that wait. Subscriptions that declare the same one share it."""

    runbook: str  # its section in the runbook
    severity: Severity
    title: str
    summary: str
    metric: str  # `WAITING` or `OLDEST`
    limit: float  # most messages, or seconds
    aligner: str = "ALIGN_MAX"  # at one time; "ALIGN_MIN": all the time
    minutes: int = 1
    lasting_minutes: int = 0

    def condition(self, subscriptions: Sequence["Subscription"]) -> Block:
        """One of the subscriptions is above the limit."""
        names = ", ".join(f'"{each.name}"' for each in subscriptions)
        return threshold_condition(
            self.limit,
            metric=self.metric,
            resource="pubsub_subscription",
            where=f"resource.labels.subscription_id = one_of({names})",
            aligner=self.aligner,
            minutes=self.minutes,
            lasting_minutes=self.lasting_minutes,
        )


class Subscription(Construct):
    """A subscription whose messages are pulled, pushed, or written to a table.

    Args:
        keep_days: days that messages are kept: time to repair a broken reader before they are lost.
        dead_letter_topic: receives messages after 20 failed deliveries; without it they are retried until
            retention ends. Pub/Sub's service agent needs grants to publish there and to subscribe here, or it
            delivers them forever.
        delivery: endpoint or table; a pull subscription if absent.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        topic: Topic,
        keep_days: int,
        dead_letter_topic: Topic | None = None,
        delivery: PushDelivery | TableDelivery | None = None,
        alerts: Sequence[MessageAlert] = (),
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        self.name: Final = name
        self.alerts: Final = alerts
        self.path: Final = f"projects/{place.project_id}/subscriptions/{name}"
        self._resource = google.pubsub_subscription.PubsubSubscription(
            self,
            "Default",
            name=name,
            topic=topic.path,
            message_retention_duration=f"{keep_days * 24 * 3600}s",
            # By default a subscription without readers is deleted after 31 days.
            expiration_policy={"ttl": ""},
            # Failed messages are retried with growing delays, so that they do not flood a broken reader.
            retry_policy={"minimum_backoff": "10s", "maximum_backoff": "600s"},
            # The streaming service sends invalid requests to the dead letters itself, at once. Attempts are
            # for outages under push delivery (20 attempts with these back-offs take more than two hours), and
            # for requests that crash the service.
            dead_letter_policy={"dead_letter_topic": dead_letter_topic.path, "max_delivery_attempts": 20}
            if dead_letter_topic
            else None,
            lifecycle={"prevent_destroy": place.protected},
            depends_on=[
                *(each.resource for each in (topic, dead_letter_topic) if each),
                *([delivery.may_write] if isinstance(delivery, TableDelivery) else ()),
            ],
        )
        if isinstance(delivery, TableDelivery):
            self._resource.put_bigquery_config(table=delivery.table.name, write_metadata=True)
            return
        self._resource.ack_deadline_seconds = 60
        if delivery:
            self._resource.put_push_config(
                push_endpoint=delivery.endpoint,
                # Anybody can send a POST, but only Pub/Sub has a token for this account and audience.
                oidc_token={"service_account_email": delivery.account.email, "audience": delivery.endpoint},
            )

    def grant_subscribe(self, principal: Principal) -> None:
        """Let a principal pull and acknowledge messages."""
        principal.grant(
            google.pubsub_subscription_iam_member.PubsubSubscriptionIamMember,
            f"subscribe-{self.name}",
            "roles/pubsub.subscriber",
            self._resource,
            subscription=self.name,
        )
