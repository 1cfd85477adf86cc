"""Alert policies, their conditions and notification channels."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from infra.cdk import Block, Construct, cdktf, google
from infra.cdk.stack import place_of

Severity = Literal["CRITICAL", "WARNING"]


class OnCall(Construct):
    """Notification channels: mail for every alert, PagerDuty for critical ones.

    PagerDuty's integration key is a sensitive variable: no file contains it, and no plan shows it.

    Args:
        runbook: URL of the document that says what to do.
        labels: labels of channels and policies, which get none from the provider.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        email: str,
        pagerduty_key: cdktf.TerraformVariable | None,
        runbook: str,
        labels: Mapping[str, str],
    ):
        super().__init__(scope, id_)
        self.runbook: Final = runbook
        self.labels: Final = labels
        # Alerts and the budget let go of a channel before it is deleted, which Google refuses otherwise.
        lifecycle = {"create_before_destroy": True}
        self.mail: Final = google.monitoring_notification_channel.MonitoringNotificationChannel(
            self,
            "mail",
            display_name=email,
            type="email",
            labels={"email_address": email},
            user_labels=labels,
            lifecycle=lifecycle,
        )
        self.channels: Final = {"WARNING": [self.mail.id], "CRITICAL": [self.mail.id]}
        if pagerduty_key:
            pager = google.monitoring_notification_channel.MonitoringNotificationChannel(
                self,
                "pagerduty",
                display_name="PagerDuty",
                type="pagerduty",
                sensitive_labels={"service_key": pagerduty_key.string_value},
                user_labels=labels,
                lifecycle=lifecycle,
            )
            self.channels["CRITICAL"].append(pager.id)


class Alert(Construct):
    """An alert policy that notifies the on-call channels.

    Args:
        title: the subject of the mail.
        summary: one sentence: what the alert means.
        runbook: anchor of its section in the runbook; its id if absent.
        severity: CRITICAL if somebody has to act at once, at night too.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        title: str,
        summary: str,
        on_call: OnCall,
        severity: Severity,
        condition: Block,
        runbook: str | None = None,
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        google.monitoring_alert_policy.MonitoringAlertPolicy(
            self,
            "Default",
            display_name=f"{place.name}: {title}",
            combiner="OR",
            severity=severity,
            conditions=[condition],
            documentation={
                "content": f"{summary}\n\nWhat to do: {on_call.runbook}#{runbook or id_}",
                "mime_type": "text/markdown",
            },
            alert_strategy={
                # Without data (a pod was deleted) an incident would stay open for a week.
                "auto_close": f"{24 * 3600}s",
                # Required for alerts on logs: otherwise each matching line would send a mail.
                "notification_rate_limit": {"period": "3600s"}
                if "condition_matched_log" in condition
                else None,
            },
            notification_channels=on_call.channels[severity],
            user_labels=on_call.labels,
        )


def threshold_condition(
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
) -> Block:
    """A Google Cloud metric of a type of resource is above a threshold, for `lasting_minutes`.

    `aligner` (ALIGN_...) combines the points of a period of `minutes`; `reducer` (REDUCE_...) combines time
    series, except that labels named in `by` stay apart. `where` is a further term of the filter.
    """
    terms = [f'resource.type = "{resource}"', f'metric.type = "{metric}"', where]
    return {
        "display_name": f"{metric} > {threshold:g}",
        "condition_threshold": {
            "filter": " AND ".join(filter(None, terms)),
            "comparison": "COMPARISON_GT",
            "threshold_value": threshold,
            "duration": f"{lasting_minutes * 60}s",
            "aggregations": [
                {
                    "alignment_period": f"{minutes * 60}s",
                    "per_series_aligner": aligner,
                    "cross_series_reducer": reducer,
                    "group_by_fields": list(by) or None,
                }
            ],
        },
    }


def query_condition(query: str, *, lasting_minutes: int = 0) -> Block:
    """A PromQL query returns a result.

    Metrics of the services and of Kubernetes exist from their first sample on, which may come after the alert
    is created, so Google does not validate their names.
    """
    return {
        "display_name": query[:100],
        "condition_prometheus_query_language": {
            "query": query,
            "duration": f"{lasting_minutes * 60}s",
            "evaluation_interval": "60s",
            "disable_metric_validation": True,
        },
    }


def log_condition(query: str) -> Block:
    """A log line matches a Cloud Logging filter."""
    return {"display_name": "a line is logged", "condition_matched_log": {"filter": query}}
