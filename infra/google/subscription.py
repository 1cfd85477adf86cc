"""Pub/Sub subscriptions."""

from dataclasses import dataclass
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.environment.messaging import MessagingSettings
from infra.google.dataset import DatasetTable
from infra.google.identity import Account, Principal
from infra.google.topic import Topic

pubsub = google.pubsub_subscription

# By default a subscription that nobody reads for 31 days is deleted.
_NEVER_EXPIRES: Final = pubsub.PubsubSubscriptionExpirationPolicy(ttl="")


def _retention(limits: MessagingSettings) -> str:
    """Time to mend a reader before messages are lost."""
    return f"{limits.retention_days * 24 * 3600}s"


def _retry(limits: MessagingSettings) -> pubsub.PubsubSubscriptionRetryPolicy:
    """A message that fails is tried again later and later, so that a broken reader is not flooded by it."""
    return pubsub.PubsubSubscriptionRetryPolicy(
        minimum_backoff=f"{limits.min_backoff_seconds}s", maximum_backoff=f"{limits.max_backoff_seconds}s"
    )


@dataclass(frozen=True)
class PushDelivery:
    """Where and as whom Pub/Sub sends messages.

    Attributes:
        endpoint: HTTPS address that takes them; also the audience of the tokens.
        account: whom the tokens are for.
        after: grants that Pub/Sub asks for: its service agent may mint such tokens, and who makes the
            subscription may name the account.
    """

    endpoint: str
    account: Account
    after: tuple[TerraformResource, ...]


class Subscription(Construct):
    """A subscription of a service: it asks for messages, or is sent them.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the subscription.
        name: of the subscription; unique in the project.
        topic: whose messages it has.
        limits: times, attempts.
        dead_letter_topic: where messages go that keep failing; they are retried until too old if absent.
            Without grants to publish there and to subscribe here, the service agent just goes on delivering.
        push: how messages are sent; they are asked for if absent.

    Attributes:
        path: full resource name, `projects/<project>/subscriptions/<name>`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        project: str,
        name: str,
        topic: Topic,
        limits: MessagingSettings,
        dead_letter_topic: Topic | None = None,
        push: PushDelivery | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        self.path: Final = f"projects/{project}/subscriptions/{name}"
        after = [each.resource for each in (topic, dead_letter_topic) if each]
        self._resource = pubsub.PubsubSubscription(
            self,
            "Default",
            name=name,
            topic=topic.path,
            ack_deadline_seconds=limits.ack_deadline_seconds,
            message_retention_duration=_retention(limits),
            expiration_policy=_NEVER_EXPIRES,
            retry_policy=_retry(limits),
            dead_letter_policy=pubsub.PubsubSubscriptionDeadLetterPolicy(
                dead_letter_topic=dead_letter_topic.path, max_delivery_attempts=limits.max_delivery_attempts
            )
            if dead_letter_topic
            else None,
            push_config=pubsub.PubsubSubscriptionPushConfig(
                push_endpoint=push.endpoint,
                # Anybody can send a POST; a token for this account and audience only Pub/Sub has.
                oidc_token=pubsub.PubsubSubscriptionPushConfigOidcToken(
                    service_account_email=push.account.email, audience=push.endpoint
                ),
            )
            if push
            else None,
            depends_on=[*after, *push.after] if push else after,
        )

    def grant_subscribe(self, principal: Principal) -> None:
        """Let somebody pull and acknowledge messages."""
        google.pubsub_subscription_iam_member.PubsubSubscriptionIamMember(
            principal,
            f"subscribe-{self.name}",
            subscription=self.name,
            role="roles/pubsub.subscriber",
            member=principal.member,
            depends_on=principal.depends_on(self._resource),
        )


class TableSubscription(Construct):
    """A subscription by which Pub/Sub writes every message of a topic to a BigQuery table, with its metadata.

    The table has the columns of
    https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata and `data`.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the subscription; unique in the project.
        topic: whose messages are written.
        limits: times.
        table: receives them.
        may_write: the grant by which Pub/Sub's service agent may write there. Without it Pub/Sub refuses to
            create the subscription.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        topic: Topic,
        limits: MessagingSettings,
        table: DatasetTable,
        may_write: TerraformResource,
    ):
        super().__init__(scope, id_)
        pubsub.PubsubSubscription(
            self,
            "Default",
            name=name,
            topic=topic.path,
            message_retention_duration=_retention(limits),
            expiration_policy=_NEVER_EXPIRES,
            retry_policy=_retry(limits),
            bigquery_config=pubsub.PubsubSubscriptionBigqueryConfig(table=table.name, write_metadata=True),
            depends_on=[topic.resource, may_write],
        )
