"""Alerts, and where they go."""

from collections.abc import Mapping, Sequence
from typing import Final

from infra.providers import (
    Construct,
    MonitoringAlertPolicy,
    MonitoringAlertPolicyConditions,
    MonitoringAlertPolicyConditionsConditionThreshold,
    MonitoringAlertPolicyConditionsConditionThresholdAggregations,
    MonitoringAlertPolicyDocumentation,
    MonitoringNotificationChannel,
)


class Mailbox(Construct):
    """A mail address that alerts are sent to."""

    def __init__(self, scope: Construct, id_: str, *, address: str, labels: Mapping[str, str]):
        super().__init__(scope, id_)
        self.resource: Final = MonitoringNotificationChannel(
            self,
            "Default",
            display_name=address,
            type="email",
            labels={"email_address": address},
            user_labels=labels,  # default labels of the provider reach neither channels nor policies
        )


class BacklogAlert(Construct):
    """Somebody is told when a subscription has messages that should not be there.

    Args:
        scope: where it belongs.
        id_: its id there.
        subscription: name of the subscription.
        title: of the alert.
        remedy: what to do, in Markdown.
        channels: who is told.
        labels: of the alert.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        subscription: str,
        title: str,
        remedy: str,
        channels: Sequence[Mailbox],
        labels: Mapping[str, str],
    ):
        super().__init__(scope, id_)
        metric = "pubsub.googleapis.com/subscription/num_undelivered_messages"
        MonitoringAlertPolicy(
            self,
            "Default",
            display_name=title,
            combiner="OR",
            severity="WARNING",
            conditions=[
                MonitoringAlertPolicyConditions(
                    display_name=f"{subscription} has messages",
                    condition_threshold=MonitoringAlertPolicyConditionsConditionThreshold(
                        filter=f'resource.type = "pubsub_subscription" AND metric.type = "{metric}" '
                        f'AND resource.labels.subscription_id = "{subscription}"',
                        comparison="COMPARISON_GT",
                        threshold_value=0,
                        duration="0s",
                        aggregations=[
                            MonitoringAlertPolicyConditionsConditionThresholdAggregations(
                                alignment_period="60s", per_series_aligner="ALIGN_MAX"
                            )
                        ],
                    ),
                )
            ],
            documentation=MonitoringAlertPolicyDocumentation(content=remedy, mime_type="text/markdown"),
            notification_channels=[channel.resource.id for channel in channels],
            user_labels=labels,
        )
