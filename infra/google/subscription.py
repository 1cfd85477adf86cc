"""Pub/Sub subscriptions."""

from dataclasses import dataclass
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.environment import Environment
from infra.environment.messaging import MessagingSettings
from infra.google.dataset import DatasetTable
from infra.google.identity import Account, Principal
from infra.google.topic import Topic

pubsub = google.pubsub_subscription

# By default a subscription without readers is deleted after 31 days.
_NEVER_EXPIRES: Final = pubsub.PubsubSubscriptionExpirationPolicy(ttl="")


def _retention(limits: MessagingSettings) -> str:
    """Time to repair a broken reader before messages are lost."""
    return f"{limits.retention_days * 24 * 3600}s"


def _retry(limits: MessagingSettings) -> pubsub.PubsubSubscriptionRetryPolicy:
    """Failed messages are retried with growing delays, so that they do not flood a broken reader."""
    return pubsub.PubsubSubscriptionRetryPolicy(
        minimum_backoff=f"{limits.min_backoff_seconds}s", maximum_backoff=f"{limits.max_backoff_seconds}s"
    )


@dataclass(frozen=True)
class PushDelivery:
    """The endpoint of a push subscription, and the account it signs in as.

    Attributes:
        endpoint: HTTPS address that receives messages; also the audience of the tokens.
        account: account of the tokens.
        after: grants that Pub/Sub requires: its service agent may create such tokens, and the creator of the
            subscription may use the account.
    """

    endpoint: str
    account: Account
    after: tuple[TerraformResource, ...]


class Subscription(Construct):
    """A pull or push subscription.

    Args:
        name: name of the subscription; unique in the project.
        topic: the topic.
        dead_letter_topic: receives messages after `max_delivery_attempts`; without it they are retried until
            retention ends. Pub/Sub's service agent needs grants to publish there and to subscribe here, or it
            delivers them forever.
        push: push endpoint; a pull subscription if absent.

    Attributes:
        path: full resource name, `projects/<project>/subscriptions/<name>`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        name: str,
        topic: Topic,
        dead_letter_topic: Topic | None = None,
        push: PushDelivery | None = None,
    ):
        super().__init__(scope, id_)
        limits = environment.messaging
        self.name: Final = name
        self.path: Final = f"projects/{environment.project_id}/subscriptions/{name}"
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
                # Anybody can send a POST, but only Pub/Sub has a token for this account and audience.
                oidc_token=pubsub.PubsubSubscriptionPushConfigOidcToken(
                    service_account_email=push.account.email, audience=push.endpoint
                ),
            )
            if push
            else None,
            depends_on=[*after, *push.after] if push else after,
        )

    def grant_subscribe(self, principal: Principal) -> None:
        """Let a principal pull and acknowledge messages."""
        google.pubsub_subscription_iam_member.PubsubSubscriptionIamMember(
            principal,
            f"subscribe-{self.name}",
            subscription=self.name,
            role="roles/pubsub.subscriber",
            member=principal.member,
            depends_on=principal.depends_on(self._resource),
        )


class TableSubscription(Construct):
    """A subscription that writes every message of a topic, with its metadata, to a BigQuery table.

    The table has the columns of
    https://cloud.google.com/pubsub/docs/bigquery#write_message_metadata and `data`.

    Args:
        name: name of the subscription; unique in the project.
        topic: the topic.
        table: the table.
        may_write: grant that lets Pub/Sub's service agent write to the table; Pub/Sub refuses to create the
            subscription without it.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        name: str,
        topic: Topic,
        table: DatasetTable,
        may_write: TerraformResource,
    ):
        super().__init__(scope, id_)
        limits = environment.messaging
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
