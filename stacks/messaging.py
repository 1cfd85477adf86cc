"""How requests for forecasts and their answers travel."""

from pathlib import Path
from typing import Final

import msgspec

from infra.dataset import DatasetTable
from infra.environment import Environment
from infra.identity import PubsubServiceAgent
from infra.providers import App
from infra.stack import PlatformStack
from infra.subscription import PullSubscription, TableSubscription
from infra.topic import Topic
from services.contracts.messages import SalePrediction
from services.contracts.names import (
    DEAD_LETTER_TOPIC,
    PREDICT_RANGE_SUBSCRIPTION,
    SALE_PREDICTIONS_SUBSCRIPTION,
    SALE_PREDICTIONS_TOPIC,
    SALE_RANGE_TOPIC,
)


class MessagingStack(PlatformStack):
    """Topics and subscriptions, and what Pub/Sub itself must be allowed to forward messages."""

    def __init__(self, scope: App, environment: Environment, simulator_home: Path, *, requests: DatasetTable):
        super().__init__(scope, "messaging", environment=environment, simulator_home=simulator_home)
        pubsub = PubsubServiceAgent(self, "pubsub", project_number=environment.project_number)

        # No schema: a bare integer is a valid request.
        self.sale_range: Final = self._topic("sale-range-topic", SALE_RANGE_TOPIC)
        self.dead_letter: Final = self._topic("dead-letter-topic", DEAD_LETTER_TOPIC)
        self.sale_predictions: Final = self._topic(
            "sale-predictions-topic", SALE_PREDICTIONS_TOPIC, message=SalePrediction
        )

        self.predict_range: Final = self._subscription(
            "predict-range", PREDICT_RANGE_SUBSCRIPTION, self.sale_range, dead_letter_topic=self.dead_letter
        )
        self.dead_letter.grant_publish(pubsub)
        self.predict_range.grant_subscribe(pubsub)

        self.dead_letters: Final = self._subscription("dead-letters", DEAD_LETTER_TOPIC, self.dead_letter)
        self._subscription("replies", SALE_PREDICTIONS_SUBSCRIPTION, self.sale_predictions)

        may_write = requests.grant_write(pubsub)
        TableSubscription(
            self,
            "requests",
            name=f"{SALE_RANGE_TOPIC}-requests",
            topic=self.sale_range,
            table=requests,
            may_write=may_write,
        )

    def _topic(self, id_: str, name: str, *, message: type[msgspec.Struct] | None = None) -> Topic:
        return Topic(self, id_, project=self.environment.project_id, name=name, message=message)

    def _subscription(
        self, id_: str, name: str, topic: Topic, *, dead_letter_topic: Topic | None = None
    ) -> PullSubscription:
        return PullSubscription(
            self,
            id_,
            project=self.environment.project_id,
            name=name,
            topic=topic,
            dead_letter_topic=dead_letter_topic,
        )
