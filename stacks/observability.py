"""Who is told when something needs a person."""

from pathlib import Path

from infra.alerting import BacklogAlert, Mailbox
from infra.environment import Environment
from infra.providers import App
from infra.stack import PlatformStack
from infra.subscription import Subscription


class ObservabilityStack(PlatformStack):
    """A mailbox, and an alert about requests that nobody could answer."""

    def __init__(
        self, scope: App, environment: Environment, simulator_home: Path, *, dead_letters: Subscription
    ):
        super().__init__(scope, "observability", environment=environment, simulator_home=simulator_home)
        mailbox = Mailbox(self, "mailbox", address=environment.alerting.email, labels=self.labels)
        BacklogAlert(
            self,
            "dead-letters",
            subscription=dead_letters.name,
            title="Requests in the dead letters",
            remedy="Pull a message and read its attribute `reason`; "
            f"`gcloud pubsub subscriptions pull {dead_letters.name} --limit 1`. "
            "Mend the sender, then acknowledge.",
            channels=[mailbox],
            labels=self.labels,
        )
