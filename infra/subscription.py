"""Pub/Sub subscriptions."""

from typing import Final

from infra.dataset import DatasetTable
from infra.identity import Principal
from infra.providers import (
    Construct,
    PubsubSubscription,
    PubsubSubscriptionBigqueryConfig,
    PubsubSubscriptionDeadLetterPolicy,
    PubsubSubscriptionExpirationPolicy,
    PubsubSubscriptionIamMember,
    PubsubSubscriptionRetryPolicy,
    TerraformResource,
)
from infra.topic import Topic

# Time to mend a reader before messages are lost.
_RETENTION: Final = f"{7 * 24 * 3600}s"

# After which an unacknowledged message is delivered again. Readers answer in well under a second.
_ACK_DEADLINE_SECONDS: Final = 60

# By default a subscription that nobody reads for 31 days is deleted.
_NEVER_EXPIRES: Final = PubsubSubscriptionExpirationPolicy(ttl="")

# A message that fails is tried again later and later, so that a broken reader is not flooded by it.
_RETRY: Final = PubsubSubscriptionRetryPolicy(minimum_backoff="10s", maximum_backoff="600s")

# The fewest that Pub/Sub allows: a message that failed five times over minutes is not going to succeed.
_MAX_DELIVERY_ATTEMPTS: Final = 5


class PullSubscription(Construct):
    """A subscription that readers ask for messages.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the subscription.
        name: of the subscription; unique in the project.
        topic: whose messages it has.
        dead_letter_topic: where messages go that keep failing; they are retried until too old if absent.
            Without grants to publish there and to subscribe here, the service agent just goes on delivering.

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
        dead_letter_topic: Topic | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        self.path: Final = f"projects/{project}/subscriptions/{name}"
        self._resource = PubsubSubscription(
            self,
            "Default",
            name=name,
            topic=topic.path,
            ack_deadline_seconds=_ACK_DEADLINE_SECONDS,
            message_retention_duration=_RETENTION,
            expiration_policy=_NEVER_EXPIRES,
            retry_policy=_RETRY,
            dead_letter_policy=PubsubSubscriptionDeadLetterPolicy(
                dead_letter_topic=dead_letter_topic.path, max_delivery_attempts=_MAX_DELIVERY_ATTEMPTS
            )
            if dead_letter_topic
            else None,
            depends_on=[each.resource for each in (topic, dead_letter_topic) if each],
        )

    def grant_subscribe(self, principal: Principal) -> None:
        """Let somebody pull and acknowledge messages."""
        PubsubSubscriptionIamMember(
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
        table: DatasetTable,
        may_write: TerraformResource,
    ):
        super().__init__(scope, id_)
        PubsubSubscription(
            self,
            "Default",
            name=name,
            topic=topic.path,
            message_retention_duration=_RETENTION,
            expiration_policy=_NEVER_EXPIRES,
            retry_policy=_RETRY,
            bigquery_config=PubsubSubscriptionBigqueryConfig(table=table.name, write_metadata=True),
            depends_on=[topic.resource, may_write],
        )
