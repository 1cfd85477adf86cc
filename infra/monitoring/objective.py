"""Service level objectives: alerts on the burn rate of their error budgets, and charts.

They are PromQL, not objects of Cloud Monitoring: Google refuses those, and alerts on them, as long as nobody
has written the metric, which is after the first request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.cdk import Construct
from infra.monitoring.alerting import Alert, OnCall, Severity, query_condition
from infra.monitoring.dashboard import Chart

_DAYS: Final = 28
"""Length of the rolling period; weeks have the same weekdays."""


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
        where: labels of all requests.
        bad: further labels of bad requests.
    """

    metric: str
    where: str
    bad: str

    def failed(self, window: str) -> str:
        """PromQL: share of the requests of a window that were not good."""
        total = f"sum(rate({self.metric}_total{{{self.where}}}[{window}]))"
        bad = f"sum(rate({self.metric}_total{{{self.where}, {self.bad}}}[{window}]))"
        return f"({bad} or vector(0)) / {total}"


@dataclass(frozen=True)
class LatencyIndicator:
    """Latency: a request is good if it takes at most `seconds`.

    Attributes:
        metric: name of a histogram of the services, in seconds.
        where: labels of all requests.
        seconds: the limit, a bucket bound of the histogram.
    """

    metric: str
    where: str
    seconds: float

    def failed(self, window: str) -> str:
        """PromQL: share of the requests of a window that were not good."""
        total = f"sum(rate({self.metric}_count{{{self.where}}}[{window}]))"
        bound = f'le=~"{self.seconds:g}(.0)?"'  # clients and Google write whole numbers differently
        labels = ", ".join(filter(None, [self.where, bound]))
        return f"1 - sum(rate({self.metric}_bucket{{{labels}}}[{window}])) / {total}"


class Objective(Construct):
    """A share of requests that has to be good over a rolling period, and alerts on its error budget.

    An alert fires when a share of the budget (`_BURNS`) is spent within its window: much of it in an hour, or
    little of it for a day.

    Args:
        title: the objective in words.
        goal: share of good requests.
        good: indicator that tells good requests from bad ones.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        service: str,
        title: str,
        goal: float,
        good: AvailabilityIndicator | LatencyIndicator,
        on_call: OnCall,
    ):
        super().__init__(scope, id_)
        budget = 1 - goal
        for burn in _BURNS:
            rate = burn.share * _DAYS * 24 * 60 / burn.long_minutes
            spent = [
                f"({good.failed(f'{minutes}m')}) > {rate * budget:.4g}"
                for minutes in (burn.long_minutes, burn.short_minutes)
            ]
            Alert(
                self,
                f"burns-in-{burn.long_minutes // 60}h",
                title=f"{service}: {burn.share:.0%} of the error budget for {id_} in "
                f"{burn.long_minutes // 60} h",
                summary=f"Promised of {service}: {title}, for {goal:.1%} in {_DAYS} days. "
                f"At the present rate the error budget lasts {_DAYS / rate:.1f} days.",
                runbook="error-budget",
                on_call=on_call,
                severity=burn.severity,
                condition=query_condition(" and ".join(spent)),
            )
        failed = good.failed(f"{_DAYS}d")
        self.charts: Final[Sequence[Chart]] = (
            Chart(f"{title}: share", "", [f"1 - ({failed})"]),
            Chart(f"{title}: error budget left", "", [f"1 - ({failed}) / {budget:.4g}"]),
        )
