"""Alerts on causes that objectives show too late, or not at all."""

from functools import partial
from typing import Final

from infra.cdk.stack import PlatformStack
from infra.environment import PLATFORM, Environment
from infra.monitoring.alerting import Alert, OnCall, log_condition, query_condition, threshold_condition
from infra.monitoring.objective import availability
from services.contracts import metrics
from services.contracts.names import DAILY_DAG
from stacks.messaging import MessagingStack

LOAD_BALANCER: Final = "loadbalancing.googleapis.com/https/external/regional"
DAG_RUNS: Final = "composer.googleapis.com/workflow/run_count"

_FAILED_PERCENT: Final = 5
_LATENCY_SECONDS: Final = 1
_MODEL_AGE_DAYS: Final = 14

_Alert = partial[Alert]


def add_alerts(stack: PlatformStack, on_call: OnCall, messaging: MessagingStack) -> None:
    """Add the alerts of an environment to a stack; the id of each is its section in the runbook."""
    environment = stack.environment
    alert = partial(Alert, stack, on_call=on_call)
    critical, warning = partial(alert, severity="CRITICAL"), partial(alert, severity="WARNING")
    subscriptions = messaging.subscriptions
    for each in dict.fromkeys(each for subscription in subscriptions for each in subscription.alerts):
        alert(
            each.runbook,
            severity=each.severity,
            title=each.title,
            summary=each.summary,
            condition=each.condition([one for one in subscriptions if each in one.alerts]),
        )
    _pod_alerts(critical, warning, environment)
    if environment.data.second_region:
        warning(
            "failed-copies",
            title="Tables were not copied into the second region",
            summary="The copy there is older than a day; its owner, an account, reads no mail of Google's.",
            # https://cloud.google.com/bigquery/docs/dts-monitor#logs
            condition=log_condition('resource.type = "bigquery_dts_config" AND severity >= ERROR'),
        )
    if environment.gateway:
        _gateway_alerts(critical, warning)
    if "orchestration" in environment.stacks:
        _batch_alerts(warning)


def _pod_alerts(critical: _Alert, warning: _Alert, environment: Environment) -> None:
    critical(
        "no-ready-pods",
        title="A service has no ready pod",
        summary="Nobody answers.",
        condition=query_condition(f"{available_pods(environment)} < 1", lasting_minutes=5),
    )
    warning(
        "restarts",
        title="A service restarts again and again",
        summary="Its containers crash, run out of memory or do not answer their liveness probe.",
        condition=threshold_condition(
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
    warning(
        "nodes-at-the-limit",
        title="Pods wait for nodes that may not be added",
        summary="A node pool has reached its largest size, or nodes of its kind cannot be had.",
        # https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-autoscaler-visibility
        condition=log_condition(
            'resource.type = "k8s_cluster" AND log_id("container.googleapis.com/'
            'cluster-autoscaler-visibility") AND '
            f'resource.labels.cluster_name = "{environment.cluster_name}" AND '
            "jsonPayload.noDecisionStatus.noScaleUp.unhandledPodGroups:*"
        ),
    )
    warning(
        "cluster-events",
        title="GKE upgrades the cluster, or a bulletin concerns it",
        summary="An upgrade began, ended or failed, a security bulletin asks for one, or support of a "
        "version ends.",
        # https://cloud.google.com/kubernetes-engine/docs/concepts/cluster-notifications
        # Without news of versions that may be had: GKE takes them by itself.
        condition=log_condition(
            'resource.type = ("gke_cluster" OR "gke_nodepool") AND '
            'log_id("container.googleapis.com/notifications") AND '
            f'resource.labels.cluster_name = "{environment.cluster_name}" AND '
            'NOT jsonPayload.@type:"UpgradeAvailableEvent"'
        ),
    )
    warning(
        "stale-model",
        title=f"The model served is older than {_MODEL_AGE_DAYS} days",
        summary="Training has failed for a while, or its models were not good enough to be published.",
        condition=query_condition(
            f"max by (job) ({metrics.MODEL_AGE}) > {_MODEL_AGE_DAYS * 24 * 3600}", lasting_minutes=30
        ),
    )


def _gateway_alerts(critical: _Alert, warning: _Alert) -> None:
    critical(
        "unreachable",
        title="Nobody outside can reach the services",
        summary="Checks from several continents fail: address, DNS record, certificate or Gateway.",
        condition=query_condition(
            "avg(avg_over_time(monitoring_googleapis_com:uptime_check_check_passed"
            '{monitored_resource="uptime_url"}[5m])) < 0.5',
            lasting_minutes=5,
        ),
    )
    warning(
        "certificate-expires",
        title="The certificate expires within two weeks",
        summary="Google did not renew it: the DNS record that shows whose the host name is has gone.",
        condition=query_condition(
            "min(monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires"
            '{monitored_resource="uptime_url"}) < 14',
            lasting_minutes=60,
        ),
    )
    critical(
        "server-errors",
        title=f"More than {_FAILED_PERCENT} % of requests fail",
        summary="The load balancer found nobody to answer, or the service answered with a fault.",
        condition=query_condition(AT_GATEWAY.exceeds(_FAILED_PERCENT / 100, 5), lasting_minutes=5),
    )
    warning(
        "slow-answers",
        title=f"One request in 100 takes more than {_LATENCY_SECONDS} s",
        summary="The pods are overloaded, or wait for something.",
        condition=threshold_condition(
            _LATENCY_SECONDS * 1000,
            metric=f"{LOAD_BALANCER}/backend_latencies",  # milliseconds
            resource="http_external_regional_lb_rule",
            aligner="ALIGN_DELTA",
            minutes=5,
            reducer="REDUCE_PERCENTILE_99",
            lasting_minutes=10,
        ),
    )


def _batch_alerts(warning: _Alert) -> None:
    warning(
        "failed-dag-runs",
        title="A DAG run failed",
        summary="Data was not loaded, or no model was trained.",
        condition=threshold_condition(
            0,
            metric=DAG_RUNS,
            resource="cloud_composer_workflow",
            where='metric.labels.state = "failed"',
            aligner="ALIGN_SUM",
            minutes=5,
            reducer="REDUCE_SUM",
            by=["resource.label.workflow_name"],
        ),
    )
    warning(
        "missing-dag-runs",
        title=f"No run of {DAILY_DAG} has succeeded for a day",
        summary="Airflow's scheduler stands still, the DAG is paused, or each of its runs fails.",
        # Of this DAG alone: Composer runs one of its own every few minutes, `airflow_monitoring`. Without
        # a run there is no time series, which counts as zero here.
        condition=query_condition(
            f'(sum(increase({promql(DAG_RUNS)}{{workflow_name="{DAILY_DAG}", state="success"}}[24h]))'
            " or vector(0)) < 1",
            lasting_minutes=60,
        ),
    )
    warning(
        "dag-parse-errors",
        title="Airflow cannot read a DAG file",
        summary="The DAGs of that file do not run, and nothing else tells so.",
        condition=threshold_condition(
            0,
            metric="composer.googleapis.com/environment/dag_processing/parse_error_count",
            resource="cloud_composer_environment",
            aligner="ALIGN_SUM",
            minutes=10,
        ),
    )
    warning(
        "failed-dataflow-jobs",
        title="A Dataflow job failed",
        summary="Predictions were not scored in batch.",
        condition=threshold_condition(
            0,
            metric="dataflow.googleapis.com/job/is_failed",
            resource="dataflow_job",
            aligner="ALIGN_MAX",
            minutes=1,
            reducer="REDUCE_MAX",
            by=["resource.label.job_name"],
        ),
    )


def available_pods(environment: Environment) -> str:
    """PromQL: ready pods of each service."""
    services = f'{{deployment=~"{"|".join(environment.workloads)}"}}'
    return f"sum by (deployment) (kube_deployment_status_replicas_available{services})"


def promql(metric: str) -> str:
    """Name of a Google Cloud metric in PromQL: https://cloud.google.com/monitoring/promql/promql-mapping."""
    domain, _, path = metric.partition("/")
    return f"{domain.replace('.', '_')}:{path.replace('/', '_')}"


AT_GATEWAY: Final = availability(promql(f"{LOAD_BALANCER}/request_count"), "", 'response_code_class="500"')
"""Requests at the Gateway; one is bad if it gets a server error, be it the load balancer's own."""
