"""Service level objectives, their indicators, and alerts on the burn rate of their error budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.cdk import Construct, google
from infra.monitoring.alerting import Alert, OnCall, Severity, burn_rate_condition
from infra.monitoring.dashboard import SloChart

slo = google.monitoring_slo

_RUNBOOK: Final = "error-budget"


@dataclass(frozen=True)
class _Burn:
    share: float
    long_minutes: int
    short_minutes: int
    severity: Severity


# Shares of the error budget and their windows, from the table "Recommended parameters" of
# https://sre.google/workbook/alerting-on-slos/#6-multiwindow-multi-burn-rate-alerts. Its third row is 10 % in
# three days and six hours; alert policies look back one day at most, so it is one day and two hours here.
# The short window closes an alert soon after the error rate is normal again.
_BURNS: Final = (
    _Burn(share=0.02, long_minutes=60, short_minutes=5, severity="CRITICAL"),
    _Burn(share=0.05, long_minutes=6 * 60, short_minutes=30, severity="CRITICAL"),
    _Burn(share=0.1, long_minutes=24 * 60, short_minutes=2 * 60, severity="WARNING"),
)


@dataclass(frozen=True)
class AvailabilityIndicator:
    """Availability: a request is good unless it is counted as bad.

    Attributes:
        metric: name of a counter of the services.
        where: filter terms of all requests.
        bad: further filter terms of bad requests.
    """

    metric: str
    where: str
    bad: str

    def indicator(self) -> slo.MonitoringSloRequestBasedSli:
        """The indicator in Cloud Monitoring's terms."""
        total = _prometheus(f"{self.metric}_total/counter", self.where)
        return slo.MonitoringSloRequestBasedSli(
            good_total_ratio=slo.MonitoringSloRequestBasedSliGoodTotalRatio(
                total_service_filter=total, bad_service_filter=f"{total} AND {self.bad}"
            )
        )


@dataclass(frozen=True)
class LatencyIndicator:
    """Latency: a request is good if it takes at most `seconds`.

    Attributes:
        metric: name of a histogram of the services, in seconds.
        where: filter terms of all requests.
        seconds: the limit, a bucket bound of the histogram.
    """

    metric: str
    where: str
    seconds: float

    def indicator(self) -> slo.MonitoringSloRequestBasedSli:
        """The indicator in Cloud Monitoring's terms."""
        return slo.MonitoringSloRequestBasedSli(
            distribution_cut=slo.MonitoringSloRequestBasedSliDistributionCut(
                distribution_filter=_prometheus(f"{self.metric}/histogram", self.where),
                range=slo.MonitoringSloRequestBasedSliDistributionCutRange(min=0, max=self.seconds),
            )
        )


class MonitoredService(Construct):
    """A service in Cloud Monitoring, which objectives belong to.

    Args:
        name: name of the service, which is its id in Cloud Monitoring.
        labels: labels of the service and its objectives.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, labels: Mapping[str, str]):
        super().__init__(scope, id_)
        self.name: Final = name
        self.resource: Final = google.monitoring_custom_service.MonitoringCustomService(
            self, "Default", service_id=name, display_name=name, user_labels=labels
        )


class Objective(Construct):
    """A share of requests that has to be good over a rolling period, and alerts on its error budget.

    An alert fires when a share of the budget (`_BURNS`) is spent within its window: much of it in an hour, or
    little of it for a day.

    Args:
        id_: its id and, within the service, in Cloud Monitoring.
        service: the service.
        title: the objective in words.
        goal: share of good requests, up to 0.999.
        days: length of the rolling period.
        good: indicator that tells good requests from bad ones.
        on_call: notification channels.

    Attributes:
        charts: charts for a dashboard.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        service: MonitoredService,
        title: str,
        goal: float,
        days: int,
        good: AvailabilityIndicator | LatencyIndicator,
        on_call: OnCall,
    ):
        super().__init__(scope, id_)
        objective = slo.MonitoringSlo(
            self,
            "Default",
            service=service.resource.service_id,
            slo_id=id_,
            display_name=title,
            goal=goal,
            rolling_period_days=days,
            request_based_sli=good.indicator(),
            user_labels=on_call.labels,
            depends_on=[service.resource],
        )
        for burn in _BURNS:
            rate = round(burn.share * days * 24 * 60 / burn.long_minutes, 2)
            Alert(
                self,
                f"burns-in-{burn.long_minutes // 60}h",
                title=f"{service.name}: {burn.share:.0%} of the error budget for {id_} in "
                f"{burn.long_minutes // 60} h",
                summary=f"Promised of {service.name}: {title}, for {goal:.1%} in {days} days. "
                f"At the present rate the error budget lasts {days / rate:.1f} days.",
                runbook=_RUNBOOK,
                on_call=on_call,
                severity=burn.severity,
                conditions=[
                    burn_rate_condition(objective.name, rate=rate, minutes=minutes)
                    for minutes in (burn.long_minutes, burn.short_minutes)
                ],
                all_of=True,
            )
        self.charts: Final[Sequence[SloChart]] = (
            SloChart(title=f"{title}: share", selector=f'select_slo_compliance("{objective.name}")'),
            SloChart(
                title=f"{title}: error budget left",
                selector=f'select_slo_budget_fraction("{objective.name}")',
            ),
        )


def _prometheus(metric: str, where: str) -> str:
    """Filter of a metric that managed Prometheus scrapes."""
    kind = f'metric.type = "prometheus.googleapis.com/{metric}"'
    return " AND ".join([kind, 'resource.type = "prometheus_target"', *([where] if where else [])])
