"""Service level objectives: alerts on the burn rate of their error budgets, and charts.

They are PromQL, not objects of Cloud Monitoring: Google refuses those, and alerts on them, as long as nobody
has written the metric, which is after the first request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from infra.cdk import Construct
from infra.monitoring.alerting import Alert, OnCall, Severity, query_condition
from infra.monitoring.dashboard import Chart

_DAYS: Final = 28
"""Length of the rolling period; weeks have the same weekdays."""


class _Burn(NamedTuple):
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

_MIN_FAILED: Final = 5
"""Failed requests that an alert needs: a single one among few requests is chance."""

_WINDOW: Final = "WINDOW"
"""Stands for the window in the PromQL of an indicator."""


@dataclass(frozen=True)
class Indicator:
    """PromQL of a window's requests per second: of those that were not good, and of all."""

    failed: str
    total: str

    def share(self, window: str) -> str:
        """PromQL of the share of a window's requests that were not good."""
        return f"({self.failed}) / {self.total}".replace(_WINDOW, window)

    def exceeds(self, limit: float, minutes: int) -> str:
        """PromQL: this share is above a limit, by more than chance."""
        window = f"{minutes}m"
        failed = f"({self.failed}) * {minutes * 60}".replace(_WINDOW, window)
        return f"({self.share(window)}) > {limit:.4g} and {failed} >= {_MIN_FAILED}"


def availability(counter: str, where: str, bad: str) -> Indicator:
    """A request is good unless it is counted as bad.

    `counter` is a metric, `where` has the labels of all requests, `bad` further ones of bad requests.
    """
    failed = ", ".join(filter(None, [where, bad]))
    return Indicator(
        failed=f"sum(rate({counter}{{{failed}}}[{_WINDOW}])) or vector(0)",
        total=f"sum(rate({counter}{{{where}}}[{_WINDOW}]))",
    )


def latency(metric: str, where: str, seconds: float) -> Indicator:
    """A request is good if it takes at most `seconds`, which is a bucket bound of the histogram `metric`."""
    bound = f'le=~"{seconds:g}(.0)?"'  # clients and Google write whole numbers differently
    labels = ", ".join(filter(None, [where, bound]))
    total = f"sum(rate({metric}_count{{{where}}}[{_WINDOW}]))"
    return Indicator(failed=f"{total} - sum(rate({metric}_bucket{{{labels}}}[{_WINDOW}]))", total=total)


class Objective(Construct):
    """A share of requests that has to be good over a rolling period, and alerts on its error budget.

    An alert fires when a share of the budget (`_BURNS`) is spent within its window: much of it in an hour, or
    little of it for a day. `title` is the objective in words, `goal` the share of good requests.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        service: str,
        title: str,
        goal: float,
        indicator: Indicator,
        on_call: OnCall,
    ):
        super().__init__(scope, id_)
        budget = 1 - goal
        for burn in _BURNS:
            rate = burn.share * _DAYS * 24 * 60 / burn.long_minutes
            burning = indicator.exceeds(rate * budget, burn.long_minutes)
            still = f"({indicator.share(f'{burn.short_minutes}m')}) > {rate * budget:.4g}"
            hours = burn.long_minutes // 60
            Alert(
                self,
                f"burns-in-{hours}h",
                title=f"{service}: {burn.share:.0%} of the error budget for {id_} in {hours} h",
                summary=f"Promised of {service}: {title}, for {goal:.1%} in {_DAYS} days. "
                f"At the present rate the error budget lasts {_DAYS / rate:.1f} days.",
                runbook="error-budget",
                on_call=on_call,
                severity=burn.severity,
                condition=query_condition(f"{burning} and {still}"),
            )
        share = indicator.share(f"{_DAYS}d")
        self.charts: Final[Sequence[Chart]] = (
            Chart(f"{title}: share", "", [f"1 - ({share})"]),
            Chart(f"{title}: error budget left", "", [f"1 - ({share}) / {budget:.4g}"]),
        )
