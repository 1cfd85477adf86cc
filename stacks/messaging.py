"""Pub/Sub: requests for forecasts, their replies and dead letters."""

from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.google.identity import Account, ServiceAgent
from infra.google.subscription import OLDEST, WAITING, MessageAlert, PushDelivery, Subscription, TableDelivery
from infra.google.topic import MessageSchema, Topic
from services.contracts import names
from services.contracts.messages import SalePrediction
from stacks.data import DataStack

_DEAD_LETTERS: Final = MessageAlert(
    "dead-letters",
    "WARNING",
    title="Requests in the dead letters",
    summary="Somebody sent requests that cannot be answered or written to their table, or the "
    "service cannot answer good ones.",
    metric=WAITING,
    limit=0,
)
_OLDEST_MESSAGE: Final = MessageAlert(
    "oldest-message",
    "CRITICAL",
    title="Requests wait too long",
    summary="Requests are not answered or not written to their table, or one after the other fails.",
    metric=OLDEST,
    limit=600,
    lasting_minutes=5,
)
_BACKLOG: Final = MessageAlert(
    "backlog",
    "WARNING",
    title="More requests wait than are answered",
    summary="More requests come than the pods there may be can answer.",
    metric=WAITING,
    limit=10_000,
    aligner="ALIGN_MIN",
    minutes=5,
    lasting_minutes=10,
)


class MessagingStack(PlatformStack):
    """Topics, subscriptions, and the grants that Pub/Sub needs to forward messages.

    Subscriptions have no filters. Filters see attributes only, and requests need none. A client that wants
    only its own replies uses a reply topic of its own.

    Attributes:
        reply_topics: topics besides `sale_predictions` that a request may name for its reply.
        push: endpoint of the streaming service; None if it pulls requests.
        subscriptions: those that declare alerts.
    """

    def __init__(self, scope: App, data: DataStack):
        environment = data.environment
        super().__init__(scope, "messaging", environment=environment)
        settings = environment.messaging

        # No schema: a bare integer is a valid request.
        self.sale_range: Final = Topic(
            self, "sale-range-topic", name=names.SALE_RANGE_TOPIC, replay_days=settings.replay_days
        )
        self.dead_letter: Final = Topic(self, "dead-letter-topic", name=names.DEAD_LETTER_TOPIC)
        reply = MessageSchema(self, "reply-schema", name=names.SALE_PREDICTIONS_TOPIC, message=SalePrediction)
        self.sale_predictions: Final = Topic(
            self, "sale-predictions-topic", name=names.SALE_PREDICTIONS_TOPIC, schema=reply
        )
        self.reply_topics: Final = tuple(
            Topic(self, f"reply-topic-{name}", name=name, schema=reply)
            for name in environment.streaming.reply_topics
        )

        keep = settings.retention_days
        pubsub = ServiceAgent(self, "pubsub", service="gcp-sa-pubsub")
        gateway = environment.gateway if environment.streaming.delivery == "push" else None
        # The account has no rights: its tokens only identify Pub/Sub.
        self.push: Final = (
            PushDelivery(f"https://{gateway.hostname}{names.PUSH_PATH}", account=Account(self, "push"))
            if gateway
            else None
        )
        self.predict_range: Final = Subscription(
            self,
            "predict-range",
            name=names.PREDICT_RANGE_SUBSCRIPTION,
            topic=self.sale_range,
            keep_days=keep,
            dead_letter_topic=self.dead_letter,
            delivery=self.push,
            alerts=(_OLDEST_MESSAGE, _BACKLOG),
        )
        # Messages of a topic without a subscription are lost.
        dead_letters = Subscription(
            self,
            "dead-letters",
            name=names.DEAD_LETTER_TOPIC,
            topic=self.dead_letter,
            keep_days=keep,
            alerts=(_DEAD_LETTERS,),
        )
        replies = names.SALE_PREDICTIONS_SUBSCRIPTION
        Subscription(self, "replies", name=replies, topic=self.sale_predictions, keep_days=keep)
        for topic in self.reply_topics:
            Subscription(self, f"replies-{topic.name}", name=topic.name, topic=topic, keep_days=keep)

        # Without dead letters a message that the table does not take is lost when its retention ends. They
        # have a topic of their own: those of `dead_letter` are published again to be answered.
        name = f"{names.SALE_RANGE_TOPIC}-requests"
        unwritten = Topic(self, "unwritten-topic", name=f"{name}-dead-letter")
        requests = Subscription(
            self,
            "requests",
            name=name,
            topic=self.sale_range,
            keep_days=keep,
            dead_letter_topic=unwritten,
            delivery=TableDelivery(data.requests, may_write=data.requests.grant_write(pubsub)),
            alerts=(_OLDEST_MESSAGE,),
        )
        for topic, subscription in ((self.dead_letter, self.predict_range), (unwritten, requests)):
            topic.grant_publish(pubsub)
            subscription.grant_subscribe(pubsub)
        not_written = Subscription(
            self, "unwritten", name=unwritten.name, topic=unwritten, keep_days=keep, alerts=(_DEAD_LETTERS,)
        )
        self.subscriptions: Final = (dead_letters, not_written, self.predict_range, requests)
