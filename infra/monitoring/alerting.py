"""Alerts: what they watch, whom they tell, and where it is written what to do."""

from collections.abc import Sequence
from typing import Final, Literal

from infra.cdk import Construct, TerraformVariable, google
from infra.cdk.stack import PlatformStack
from infra.environment.observability import AlertingSettings

alert_policy = google.monitoring_alert_policy
notification_channel = google.monitoring_notification_channel

RUNBOOK: Final = "docs/runbook.md"
"""What to do; has a section for every alert, and alerts name theirs."""

Condition = alert_policy.MonitoringAlertPolicyConditions
Severity = Literal["CRITICAL", "WARNING"]


class OnCall(Construct):
    """Who is told: by mail of everything, by PagerDuty of what cannot wait.

    PagerDuty's integration key is a secret. It is asked for as a variable of the stack, so that no file has
    it, and Terraform shows it in no plan.

    Args:
        scope: the stack.
        id_: its id there.
        settings: address, and whether there is PagerDuty.
    """

    def __init__(self, scope: PlatformStack, id_: str, *, settings: AlertingSettings):
        super().__init__(scope, id_)
        labels = scope.labels  # default labels of the provider reach neither channels nor policies
        self.labels: Final = labels
        self.mail: Final = notification_channel.MonitoringNotificationChannel(
            self,
            "mail",
            display_name=settings.email,
            type="email",
            labels={"email_address": settings.email},
            user_labels=labels,
        )
        self._urgent = [self.mail]
        if settings.pagerduty:
            key = TerraformVariable(
                scope,
                "pagerduty_service_key",
                type="string",
                sensitive=True,
                nullable=False,
                # Nobody is paged from a laptop.
                default="simulated" if scope.environment.simulated else None,
                description="Integration key of the PagerDuty service: TF_VAR_pagerduty_service_key.",
            )
            pager = notification_channel.MonitoringNotificationChannel(
                self,
                "pagerduty",
                display_name="PagerDuty",
                type="pagerduty",
                sensitive_labels=notification_channel.MonitoringNotificationChannelSensitiveLabels(
                    service_key=key.string_value
                ),
                user_labels=labels,
            )
            self._urgent.append(pager)

    def channels(self, severity: Severity) -> list[str]:
        """Where alerts of a severity go."""
        return [channel.id for channel in (self._urgent if severity == "CRITICAL" else [self.mail])]


class Alert(Construct):
    """Somebody is told when something is as it should not be.

    Args:
        scope: where it belongs.
        id_: its id there.
        title: in a few words.
        summary: what it means, in a sentence.
        runbook: the section of the runbook, as a link has it.
        on_call: who is told.
        severity: CRITICAL if it cannot wait until morning.
        conditions: when.
        all_of: when all of them hold, not one.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        title: str,
        summary: str,
        runbook: str,
        on_call: OnCall,
        severity: Severity,
        conditions: Sequence[Condition],
        all_of: bool = False,
    ):
        super().__init__(scope, id_)
        logged = any(condition.condition_matched_log is not None for condition in conditions)
        alert_policy.MonitoringAlertPolicy(
            self,
            "Default",
            display_name=title,
            combiner="AND" if all_of else "OR",
            severity=severity,
            conditions=list(conditions),
            documentation=alert_policy.MonitoringAlertPolicyDocumentation(
                content=f"{summary}\n\nWhat to do: {RUNBOOK}#{runbook}", mime_type="text/markdown"
            ),
            alert_strategy=alert_policy.MonitoringAlertPolicyAlertStrategy(
                # An incident whose data ceased, as those of a deleted pod do, would stay open for a week.
                auto_close=f"{24 * 3600}s",
                # Required of alerts about logs: each matching line would be a mail.
                notification_rate_limit=alert_policy.MonitoringAlertPolicyAlertStrategyNotificationRateLimit(
                    period="3600s"
                )
                if logged
                else None,
            ),
            notification_channels=on_call.channels(severity),
            user_labels=on_call.labels,
        )


def above(
    threshold: float,
    *,
    metric: str,
    resource: str,
    where: str = "",
    aligner: str,
    minutes: int,
    reducer: str | None = None,
    by: Sequence[str] = (),
    lasting_minutes: int = 0,
) -> Condition:
    """A metric of Google's is above a threshold.

    Args:
        threshold: that it must exceed.
        metric: its type.
        resource: type of the monitored resource.
        where: further terms of the filter.
        aligner: what is made of the points of a period: ALIGN_...
        minutes: length of a period.
        reducer: what is made of several time series: REDUCE_...
        by: labels by which time series are told apart by then.
        lasting_minutes: for how long.
    """
    terms = [f'resource.type = "{resource}"', f'metric.type = "{metric}"', *([where] if where else [])]
    return alert_policy.MonitoringAlertPolicyConditions(
        display_name=f"{metric} > {threshold:g}",
        condition_threshold=alert_policy.MonitoringAlertPolicyConditionsConditionThreshold(
            filter=" AND ".join(terms),
            comparison="COMPARISON_GT",
            threshold_value=threshold,
            duration=f"{lasting_minutes * 60}s",
            aggregations=[
                alert_policy.MonitoringAlertPolicyConditionsConditionThresholdAggregations(
                    alignment_period=f"{minutes * 60}s",
                    per_series_aligner=aligner,
                    cross_series_reducer=reducer,
                    group_by_fields=list(by) or None,
                )
            ],
        ),
    )


def holds(query: str, *, lasting_minutes: int = 0) -> Condition:
    """A PromQL query has a result.

    Metrics of the services and of Kubernetes exist only from their first sample on, which may be after the
    alert was made: hence no check that they do.
    """
    return alert_policy.MonitoringAlertPolicyConditions(
        display_name=query[:100],
        condition_prometheus_query_language=alert_policy.MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage(
            query=query,
            duration=f"{lasting_minutes * 60}s",
            evaluation_interval="60s",
            disable_metric_validation=True,
        ),
    )


def logged(query: str) -> Condition:
    """A line is logged that a filter of Cloud Logging matches."""
    return alert_policy.MonitoringAlertPolicyConditions(
        display_name="a line is logged",
        condition_matched_log=alert_policy.MonitoringAlertPolicyConditionsConditionMatchedLog(filter=query),
    )


def burns(objective: str, *, rate: float, minutes: int) -> Condition:
    """The error budget of an objective burns faster than this, 1 being what it allows.

    Args:
        objective: resource name of the objective.
        rate: that it must exceed.
        minutes: over which the rate is measured.
    """
    return alert_policy.MonitoringAlertPolicyConditions(
        display_name=f"burn rate of {minutes} minutes > {rate:g}",
        condition_threshold=alert_policy.MonitoringAlertPolicyConditionsConditionThreshold(
            filter=f'select_slo_burn_rate("{objective}", "{minutes * 60}s")',
            comparison="COMPARISON_GT",
            threshold_value=rate,
            duration="0s",
        ),
    )
