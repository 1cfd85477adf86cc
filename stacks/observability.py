"""Service level objectives, alerts, the dashboard and the budget."""

from collections.abc import Iterator
from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import PLATFORM, Environment
from infra.google.budget import Budget
from infra.google.subscription import OLDEST, WAITING, Subscription
from infra.monitoring.alerting import OnCall
from infra.monitoring.dashboard import Chart, Dashboard, Section
from infra.monitoring.objective import Objective, availability, latency
from infra.monitoring.uptime import UptimeCheck
from services.contracts import metrics
from services.contracts.names import LIVENESS_PATH, PREDICT_PATH
from stacks.alerts import AT_GATEWAY, DAG_RUNS, LOAD_BALANCER, add_alerts, available_pods, promql
from stacks.messaging import MessagingStack

# Bounds of the histograms.
_LATENCY_SECONDS: Final = 0.1
_FRESHNESS_SECONDS: Final = 30


class ObservabilityStack(PlatformStack):
    """Objectives for the services, alerts on causes that objectives show too late, and a dashboard."""

    def __init__(self, scope: App, messaging: MessagingStack):
        environment = messaging.environment
        super().__init__(scope, "observability", environment=environment)
        self._on_call = OnCall(
            self,
            "on-call",
            email=environment.alerting.email,
            pagerduty_key=self.pagerduty_key,
            runbook=environment.runbook,
            labels=self.labels,
        )
        objectives = self._objectives()
        if environment.gateway:
            UptimeCheck(
                self,
                "uptime",
                hostname=environment.gateway.hostname,
                path=LIVENESS_PATH,
                guarded=bool(environment.gateway.iap_members),
                labels=self.labels,
            )
        add_alerts(self, self._on_call, messaging)
        if environment.budget:
            Budget(self, "budget", on_call=self._on_call, **dict(environment.budget))
        Dashboard(
            self,
            "dashboard",
            title=f"Sales forecast, {environment.name}",
            sections=[
                Section("Objectives", [chart for each in objectives for chart in each.charts]),
                *_sections(environment, messaging.predict_range),
            ],
        )

    def _objectives(self) -> list[Objective]:
        answers = f'route="{PREDICT_PATH}"'  # without probes and scrapes
        answered = availability(f"{metrics.REQUESTS}_total", answers, 'code=~"5.."')
        in_time = latency(metrics.REQUEST_DURATION, answers, _LATENCY_SECONDS)
        fresh = latency(metrics.MESSAGE_LATENCY, "", _FRESHNESS_SECONDS)
        objectives = (
            ("availability", "prediction", "answered without a fault of ours", 0.999, answered),
            ("latency", "prediction", f"answered within {_LATENCY_SECONDS:g} s", 0.99, in_time),
            ("freshness", "streaming", f"requests answered within {_FRESHNESS_SECONDS:g} s", 0.99, fresh),
        )
        return [
            Objective(
                self, id_, service=service, title=title, goal=goal, indicator=indicator, on_call=self._on_call
            )
            for id_, service, title, goal, indicator in objectives
        ]


def _sections(environment: Environment, requests: Subscription) -> Iterator[Section]:
    yield Section(
        "Prediction",
        [
            Chart("Requests by code", "1/s", [f"sum by (code) (rate({metrics.REQUESTS}_total[5m]))"]),
            Chart("Time to answer", "s", _quantiles(metrics.REQUEST_DURATION)),
            Chart("Age of the model", "s", [f"max by (job) ({metrics.MODEL_AGE})"]),
        ],
    )
    outcomes = f"sum by (kind, outcome) (rate({metrics.MESSAGES}_total[5m]))"
    of_requests = f'{{subscription_id="{requests.name}"}}'
    yield Section(
        "Streaming",
        [
            Chart("Messages by outcome", "1/s", [outcomes]),
            Chart("Time from request to answer", "s", _quantiles(metrics.MESSAGE_LATENCY)),
            Chart("Requests waiting", "", [f"sum({promql(WAITING)}{of_requests})"]),
            Chart("Oldest request waiting", "s", [f"max({promql(OLDEST)}{of_requests})"]),
        ],
    )
    containers = f'{{monitored_resource="k8s_container", namespace_name="{PLATFORM}"}}'
    used = f"kubernetes_io:container_cpu_request_utilization{containers}"
    autoscalers = f'{{horizontalpodautoscaler=~"{"|".join(environment.workloads)}"}}'
    wanted = f"kube_horizontalpodautoscaler_status_desired_replicas{autoscalers}"
    yield Section(
        "Pods",
        [
            Chart("Ready", "", [available_pods(environment)]),
            Chart("CPU used, of what was asked for", "", [f"avg by (container_name) ({used})"]),
            Chart("Wanted", "", [f"max by (horizontalpodautoscaler) ({wanted})"]),
        ],
    )
    if environment.gateway:
        requests_at_gateway = promql(f"{LOAD_BALANCER}/request_count")
        by_class = f"sum by (response_code_class) (rate({requests_at_gateway}[5m]))"
        charts = [
            Chart("Requests by class of code", "1/s", [by_class]),
            Chart("Share that fails", "", [AT_GATEWAY.share("5m")]),
        ]
        yield Section("Gateway", charts)
    if "orchestration" in environment.stacks:
        runs = f"sum by (workflow_name, state) (increase({promql(DAG_RUNS)}[1h]))"
        yield Section("Batch", [Chart("DAG runs by state", "1/h", [runs])])


def _quantiles(histogram: str) -> list[str]:
    rate = f"sum by (le) (rate({histogram}_bucket[5m]))"
    return [f"histogram_quantile({quantile}, {rate})" for quantile in (0.5, 0.95, 0.99)]
