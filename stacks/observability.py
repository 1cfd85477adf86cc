"""Service level objectives, alerts, the dashboard and the budget."""

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import PLATFORM, Environment
from infra.google.budget import Budget
from infra.google.subscription import Subscription
from infra.monitoring.alerting import (
    Alert,
    Condition,
    OnCall,
    Severity,
    log_condition,
    query_condition,
    threshold_condition,
)
from infra.monitoring.dashboard import Chart, Dashboard, Section
from infra.monitoring.objective import AvailabilityIndicator, LatencyIndicator, MonitoredService, Objective
from services.contracts import metrics
from services.contracts.names import PREDICT_PATH

_WAITING = "pubsub.googleapis.com/subscription/num_undelivered_messages"
_OLDEST = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
_LOAD_BALANCER = "loadbalancing.googleapis.com/https/external/regional"
_DAG_RUNS = "composer.googleapis.com/workflow/run_count"
_DAY_SECONDS = 24 * 3600


class ObservabilityStack(PlatformStack):
    """Objectives for the services, alerts on causes that objectives show too late, and a dashboard."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        *,
        requests: Subscription,
        dead_letters: Subscription,
    ):
        super().__init__(scope, "observability", environment=environment)
        self._on_call = OnCall(self, "on-call", settings=environment.alerting)
        objectives = self._objectives()
        self._message_alerts(requests, dead_letters)
        self._pod_alerts()
        if environment.gateway:
            self._gateway_alerts()
        if "orchestration" in environment.stacks:
            self._batch_alerts()
        if environment.budget:
            Budget(
                self,
                "budget",
                environment=environment,
                settings=environment.budget,
                on_call=self._on_call,
            )
        Dashboard(
            self,
            "dashboard",
            title=f"Sales forecast, {environment.name}",
            sections=[
                Section("Objectives", [chart for each in objectives for chart in each.charts]),
                *_sections(environment, requests),
            ],
        )

    def _objectives(self) -> list[Objective]:
        promised = self.environment.slo
        prediction, streaming = (
            MonitoredService(self, name, name=name, labels=self.labels)
            for name in ("prediction", "streaming")
        )
        answers = f'metric.labels.route = "{PREDICT_PATH}"'  # without probes and scrapes
        faults = 'metric.labels.code = monitoring.regex.full_match("5..")'
        return [
            Objective(
                self,
                "availability",
                service=prediction,
                title="answered without a fault of ours",
                goal=promised.availability,
                days=promised.days,
                good=AvailabilityIndicator(metrics.REQUESTS, answers, faults),
                on_call=self._on_call,
            ),
            Objective(
                self,
                "latency",
                service=prediction,
                title=f"answered within {promised.latency_seconds:g} s",
                goal=promised.latency,
                days=promised.days,
                good=LatencyIndicator(metrics.REQUEST_DURATION, answers, promised.latency_seconds),
                on_call=self._on_call,
            ),
            Objective(
                self,
                "freshness",
                service=streaming,
                title=f"requests answered within {promised.freshness_seconds:g} s",
                goal=promised.freshness,
                days=promised.days,
                good=LatencyIndicator(metrics.MESSAGE_LATENCY, "", promised.freshness_seconds),
                on_call=self._on_call,
            ),
        ]

    def _alert(self, runbook: str, severity: Severity, *, title: str, summary: str, when: Condition) -> None:
        """An alert with one condition; its id is the name of its section in the runbook."""
        Alert(
            self,
            runbook,
            title=title,
            summary=summary,
            runbook=runbook,
            on_call=self._on_call,
            severity=severity,
            conditions=[when],
        )

    def _message_alerts(self, requests: Subscription, dead_letters: Subscription) -> None:
        alerting = self.environment.alerting
        self._alert(
            "dead-letters",
            "WARNING",
            title="Requests in the dead letters",
            summary="Somebody sent requests that cannot be answered, or the service cannot answer good ones.",
            when=threshold_condition(
                0,
                metric=_WAITING,
                resource="pubsub_subscription",
                where=_of_subscription(dead_letters),
                aligner="ALIGN_MAX",
                minutes=1,
            ),
        )
        self._alert(
            "oldest-message",
            "CRITICAL",
            title="Requests wait too long",
            summary="Requests are not answered, or one after the other fails.",
            when=threshold_condition(
                alerting.oldest_message_seconds,
                metric=_OLDEST,
                resource="pubsub_subscription",
                where=_of_subscription(requests),
                aligner="ALIGN_MAX",
                minutes=1,
                lasting_minutes=5,
            ),
        )
        self._alert(
            "backlog",
            "WARNING",
            title="More requests wait than are answered",
            summary="More requests come than the pods there may be can answer.",
            when=threshold_condition(
                alerting.backlog_messages,
                metric=_WAITING,
                resource="pubsub_subscription",
                where=_of_subscription(requests),
                aligner="ALIGN_MIN",
                minutes=5,
                lasting_minutes=10,
            ),
        )

    def _pod_alerts(self) -> None:
        self._alert(
            "no-ready-pods",
            "CRITICAL",
            title="A service has no ready pod",
            summary="Nobody answers.",
            when=query_condition(f"{_available_pods(self.environment)} < 1", lasting_minutes=5),
        )
        self._alert(
            "restarts",
            "WARNING",
            title="A service restarts again and again",
            summary="Its containers crash, run out of memory or do not answer their liveness probe.",
            when=threshold_condition(
                2,
                metric="kubernetes.io/container/restart_count",
                resource="k8s_container",
                where=f'resource.labels.namespace_name = "{PLATFORM}"',
                aligner="ALIGN_DELTA",
                minutes=15,
                reducer="REDUCE_SUM",
                by=["resource.label.container_name"],
            ),
        )
        self._alert(
            "nodes-at-the-limit",
            "WARNING",
            title="Pods wait for nodes that may not be added",
            summary="A node pool has reached its largest size, or nodes of its kind cannot be had.",
            # https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-autoscaler-visibility
            when=log_condition(
                'resource.type = "k8s_cluster" AND log_id("container.googleapis.com/'
                f'cluster-autoscaler-visibility") AND resource.labels.cluster_name = "{PLATFORM}" AND '
                "jsonPayload.noDecisionStatus.noScaleUp.unhandledPodGroups:*"
            ),
        )
        days = self.environment.alerting.model_age_days
        self._alert(
            "stale-model",
            "WARNING",
            title=f"The model served is older than {days} days",
            summary="Training has failed for a while, or its models were not good enough to be published.",
            when=query_condition(
                f"max by (job) ({metrics.MODEL_AGE}) > {days * _DAY_SECONDS}", lasting_minutes=30
            ),
        )

    def _gateway_alerts(self) -> None:
        alerting = self.environment.alerting
        self._alert(
            "server-errors",
            "CRITICAL",
            title=f"More than {alerting.error_percent} % of requests fail",
            summary="The load balancer found nobody to answer, or the service answered with a fault.",
            when=query_condition(f"{_failed_share()} > {alerting.error_percent / 100:g}", lasting_minutes=5),
        )
        self._alert(
            "slow-answers",
            "WARNING",
            title=f"One request in 100 takes more than {alerting.latency_seconds:g} s",
            summary="The pods are overloaded, or wait for something.",
            when=threshold_condition(
                alerting.latency_seconds * 1000,
                metric=f"{_LOAD_BALANCER}/backend_latencies",  # milliseconds
                resource="http_external_regional_lb_rule",
                aligner="ALIGN_DELTA",
                minutes=5,
                reducer="REDUCE_PERCENTILE_99",
                lasting_minutes=10,
            ),
        )

    def _batch_alerts(self) -> None:
        self._alert(
            "failed-dag-runs",
            "WARNING",
            title="A DAG run failed",
            summary="Data was not loaded, or no model was trained.",
            when=threshold_condition(
                0,
                metric=_DAG_RUNS,
                resource="cloud_composer_workflow",
                where='metric.labels.state = "failed"',
                aligner="ALIGN_SUM",
                minutes=5,
                reducer="REDUCE_SUM",
                by=["resource.label.workflow_name"],
            ),
        )
        self._alert(
            "missing-dag-runs",
            "WARNING",
            title="No DAG run has succeeded for a day",
            summary="Airflow's scheduler stands still, DAGs are paused, or each of their runs fails.",
            # Without any run there is no time series, which counts as zero here.
            when=query_condition(
                f'(sum(increase({_promql(_DAG_RUNS)}{{state="success"}}[24h])) or vector(0)) < 1',
                lasting_minutes=60,
            ),
        )
        self._alert(
            "dag-parse-errors",
            "WARNING",
            title="Airflow cannot read a DAG file",
            summary="The DAGs of that file do not run, and nothing else tells so.",
            when=threshold_condition(
                0,
                metric="composer.googleapis.com/environment/dag_processing/parse_error_count",
                resource="cloud_composer_environment",
                aligner="ALIGN_SUM",
                minutes=10,
            ),
        )
        self._alert(
            "failed-dataflow-jobs",
            "WARNING",
            title="A Dataflow job failed",
            summary="Predictions were not scored in batch.",
            when=threshold_condition(
                0,
                metric="dataflow.googleapis.com/job/is_failed",
                resource="dataflow_job",
                aligner="ALIGN_MAX",
                minutes=1,
                reducer="REDUCE_MAX",
                by=["resource.label.job_name"],
            ),
        )


def _sections(environment: Environment, requests: Subscription) -> list[Section]:
    of_requests = f'{{subscription_id="{requests.name}"}}'
    used = (
        "kubernetes_io:container_cpu_request_utilization"
        f'{{monitored_resource="k8s_container", namespace_name="{PLATFORM}"}}'
    )
    wanted = (
        "kube_horizontalpodautoscaler_status_desired_replicas"
        f'{{horizontalpodautoscaler=~"{"|".join(environment.workloads)}"}}'
    )
    prediction = Section(
        "Prediction",
        [
            Chart("Requests by code", "1/s", [f"sum by (code) (rate({metrics.REQUESTS}_total[5m]))"]),
            Chart("Time to answer", "s", _quantiles(metrics.REQUEST_DURATION)),
            Chart("Age of the model", "s", [f"max by (job) ({metrics.MODEL_AGE})"]),
        ],
    )
    streaming = Section(
        "Streaming",
        [
            Chart(
                "Messages by outcome", "1/s", [f"sum by (kind, outcome) (rate({metrics.MESSAGES}_total[5m]))"]
            ),
            Chart("Time from request to answer", "s", _quantiles(metrics.MESSAGE_LATENCY)),
            Chart("Requests waiting", "", [f"sum({_promql(_WAITING)}{of_requests})"]),
            Chart("Oldest request waiting", "s", [f"max({_promql(_OLDEST)}{of_requests})"]),
        ],
    )
    cluster = Section(
        "Pods",
        [
            Chart("Ready", "", [_available_pods(environment)]),
            Chart("CPU used, of what was asked for", "", [f"avg by (container_name) ({used})"]),
            Chart("Wanted", "", [f"max by (horizontalpodautoscaler) ({wanted})"]),
        ],
    )
    sections = [prediction, streaming, cluster]
    if environment.gateway:
        requests_at_gateway = _promql(f"{_LOAD_BALANCER}/request_count")
        sections.append(
            Section(
                "Gateway",
                [
                    Chart(
                        "Requests by class of code",
                        "1/s",
                        [f"sum by (response_code_class) (rate({requests_at_gateway}[5m]))"],
                    ),
                    Chart("Share that fails", "", [_failed_share()]),
                ],
            )
        )
    if "orchestration" in environment.stacks:
        sections.append(
            Section(
                "Batch",
                [
                    Chart(
                        "DAG runs by state",
                        "1/h",
                        [f"sum by (workflow_name, state) (increase({_promql(_DAG_RUNS)}[1h]))"],
                    )
                ],
            )
        )
    return sections


def _quantiles(histogram: str) -> list[str]:
    return [
        f"histogram_quantile({quantile}, sum by (le) (rate({histogram}_bucket[5m])))"
        for quantile in (0.5, 0.95, 0.99)
    ]


def _available_pods(environment: Environment) -> str:
    services = f'{{deployment=~"{"|".join(environment.workloads)}"}}'
    return f"sum by (deployment) (kube_deployment_status_replicas_available{services})"


def _failed_share() -> str:
    requests = _promql(f"{_LOAD_BALANCER}/request_count")
    return f'sum(rate({requests}{{response_code_class="500"}}[5m])) / sum(rate({requests}[5m]))'


def _of_subscription(subscription: Subscription) -> str:
    return f'resource.labels.subscription_id = "{subscription.name}"'


def _promql(metric: str) -> str:
    """Name of a Google Cloud metric in PromQL.

    See https://cloud.google.com/monitoring/promql/promql-mapping.
    """
    domain, _, path = metric.partition("/")
    return f"{domain.replace('.', '_')}:{path.replace('/', '_')}"
