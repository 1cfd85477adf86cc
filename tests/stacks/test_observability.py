"""What is promised, what is watched, and who is told when something needs a person."""

import json
import re
from typing import Any

import pytest

from infra import environment
from services.contracts import metrics
from services.contracts.names import LIVENESS_PATH
from tests.stacks.synthesized import ROOT, Stack, Synthesis

POLICY = "google_monitoring_alert_policy"
ENVIRONMENTS = environment.names()
RUNBOOK = ROOT / "docs" / "runbook.md"
DAGS = ROOT / "services" / "batch" / "dags"


@pytest.fixture
def prod(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-observability")


@pytest.fixture
def paged(variants: Synthesis) -> Stack:
    return variants.stack("paged-observability")


def alert(stack: Stack, title: str) -> dict[str, Any]:
    found = [each for each in stack.all(POLICY).values() if title in each["display_name"]]
    assert len(found) == 1, [each["display_name"] for each in stack.all(POLICY).values()]
    return found[0]


def threshold(stack: Stack, title: str) -> dict[str, Any]:
    (condition,) = alert(stack, title)["conditions"]
    return condition["condition_threshold"]


def query(stack: Stack, title: str) -> str:
    (condition,) = alert(stack, title)["conditions"]
    found = condition["condition_prometheus_query_language"]
    assert found["disable_metric_validation"] is True  # the first sample may come after the alert
    return found["query"]


def test_alerts_and_sections_of_the_runbook_are_each_others(prod: Stack, paged: Stack) -> None:
    headings = re.findall(r"(?m)^## (.+)$", RUNBOOK.read_text())
    assert len(headings) == len(set(headings))
    texts = [each["documentation"]["content"] for each in prod.all(POLICY).values()]
    texts.append(paged.one("google_billing_budget")["display_name"])
    url = "https://github.com/your-organization/sales-forecast-platform/blob/main/docs/runbook.md#"
    assert all(f"What to do: {url}" in text for text in texts[:-1])
    named = [re.search(r"docs/runbook\.md#([a-z-]+)$", text) for text in texts]
    sources = "".join(each.read_text() for each in DAGS.glob("*.py"))
    events = re.findall(r'(?:Alert|send)\(\s*"([^"]+)",\s*"(?:error|warning)"', sources)
    assert events
    assert {each[1] if each else None for each in named} | {
        event.lower().replace(" ", "-") for event in events
    } == set(headings)
    links = re.findall(r"\]\(#([\w-]+)\)", RUNBOOK.read_text())
    assert links
    assert set(links) <= set(headings)


def test_alerts_are_told_apart(prod: Stack) -> None:
    titles = [each["display_name"] for each in prod.all(POLICY).values()]
    assert len(set(titles)) == len(titles)
    for each in prod.all(POLICY).values():
        conditions = [condition["display_name"] for condition in each["conditions"]]
        assert len(set(conditions)) == len(conditions)
        assert each["alert_strategy"]["auto_close"] == "86400s"


def test_everything_is_mailed_and_what_cannot_wait_pages_somebody(prod: Stack, paged: Stack) -> None:
    mail = f"${{{prod.address('google_monitoring_notification_channel', type='email')}.id}}"
    prod.one(
        "google_monitoring_notification_channel",
        type="email",
        labels={"email_address": "sales-forecast-prod@example.com"},
    )
    prod.none("google_monitoring_notification_channel", type="pagerduty")
    assert all(each["notification_channels"] == [mail] for each in prod.all(POLICY).values())

    pager = f"${{{paged.address('google_monitoring_notification_channel', type='pagerduty')}.id}}"
    for each in paged.all(POLICY).values():
        channels = [mail, pager] if each["severity"] == "CRITICAL" else [mail]
        assert each["notification_channels"] == channels, each["display_name"]
    assert {each["severity"] for each in paged.all(POLICY).values()} == {"CRITICAL", "WARNING"}


def test_the_key_of_pagerduty_is_nowhere(paged: Stack) -> None:
    variable = paged.content["variable"]["pagerduty_service_key"]
    assert variable["sensitive"] is True
    assert variable["default"] == ""
    paged.one(
        "google_monitoring_notification_channel",
        type="pagerduty",
        sensitive_labels={"service_key": "${var.pagerduty_service_key}"},
    )


@pytest.mark.parametrize(
    ("service", "objective", "budget"),
    [
        ("prediction", "availability", 0.001),
        ("prediction", "latency", 0.01),
        ("streaming", "freshness", 0.01),
    ],
)
def test_one_declaration_gives_objective_alerts_and_charts(
    prod: Stack, service: str, objective: str, budget: float
) -> None:
    burns = [each for each in prod.all(POLICY).values() if f"budget for {objective} " in each["display_name"]]
    found: list[tuple[str, tuple[tuple[str, float], ...]]] = []
    for each in burns:
        assert each["display_name"].startswith(f"prod: {service}: ")
        (condition,) = each["conditions"]
        windows: list[tuple[str, float]] = []
        long, enough, short = condition["condition_prometheus_query_language"]["query"].split(" and ")
        assert enough.endswith(" >= 5")
        for part in (long, short):
            share, _, limit = part.rpartition(" > ")
            (window,) = set(re.findall(r"\[(\w+)\]", share))
            windows.append((window, round(float(limit) / budget, 2)))
        found.append((each["severity"], tuple(windows)))
    # 2 % of 28 days' budget in an hour, 5 % in six, 10 % in a day; with them the windows that end the alert.
    assert sorted(found) == [
        ("CRITICAL", (("360m", 5.6), ("30m", 5.6))),
        ("CRITICAL", (("60m", 13.44), ("5m", 13.44))),
        ("WARNING", (("1440m", 2.8), ("120m", 2.8))),
    ]


def test_requests_are_good_that_the_services_count_as_such(prod: Stack) -> None:
    shown = prod.one("google_monitoring_dashboard")["dashboard_json"].replace('\\"', '"')
    total = f'{metrics.REQUESTS}_total{{route="/predict"'
    assert f'(sum(rate({total}, code=~"5.."}}[28d])) or vector(0)) / sum(rate({total}}}[28d]))' in shown
    for metric, labels, bounds, seconds in (
        (metrics.REQUEST_DURATION, 'route="/predict", ', metrics.REQUEST_DURATION_BUCKETS, 0.1),
        (metrics.MESSAGE_LATENCY, "", metrics.MESSAGE_LATENCY_BUCKETS, 30),
    ):
        assert seconds in bounds
        assert f'{metric}_bucket{{{labels}le=~"{seconds:g}(.0)?"}}[28d]' in shown


def test_messages_are_watched(synthesis: Synthesis, prod: Stack) -> None:
    messaging = synthesis.stack("prod-messaging")
    dead_letters = ("sale-range-dead-letter", "sale-range-requests-dead-letter")
    for title, subscriptions, metric, limit in (
        ("dead letters", dead_letters, "num_undelivered_messages", 0),
        ("wait too long", ("predict-range", "sale-range-requests"), "oldest_unacked_message_age", 600),
        ("More requests wait", ("predict-range",), "num_undelivered_messages", 10_000),
    ):
        for subscription in subscriptions:
            messaging.one("google_pubsub_subscription", name=subscription)
        watched = threshold(prod, title)
        assert f'metric.type = "pubsub.googleapis.com/subscription/{metric}"' in watched["filter"]
        names = ", ".join(f'"{each}"' for each in subscriptions)
        assert f"resource.labels.subscription_id = one_of({names})" in watched["filter"]
        assert (watched["comparison"], watched["threshold_value"]) == ("COMPARISON_GT", limit)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_subscription_that_loses_or_delays_requests_is_watched(synthesis: Synthesis, name: str) -> None:
    subscriptions = synthesis.stack(f"{name}-messaging").all("google_pubsub_subscription").values()
    late = {each["name"] for each in subscriptions if "dead_letter_policy" in each}
    topics = {
        each["dead_letter_policy"]["dead_letter_topic"]
        for each in subscriptions
        if "dead_letter_policy" in each
    }
    dead = {each["name"] for each in subscriptions if each["topic"] in topics}
    stack = synthesis.stack(f"{name}-observability")
    for title, watched in (("wait too long", late), ("dead letters", dead)):
        names = threshold(stack, title)["filter"].partition("one_of(")[2]
        assert watched == set(re.findall(r'"([^"]+)"', names))


def test_pods_nodes_and_models_are_watched(prod: Stack) -> None:
    assert query(prod, "no ready pod") == (
        "sum by (deployment) (kube_deployment_status_replicas_available"
        '{deployment=~"prediction|streaming"}) < 1'
    )
    assert query(prod, "older than") == f"max by (job) ({metrics.MODEL_AGE}) > {14 * 24 * 3600}"
    restarts = threshold(prod, "again and again")
    assert "kubernetes.io/container/restart_count" in restarts["filter"]
    assert 'resource.labels.namespace_name = "sales-forecast"' in restarts["filter"]
    nodes = alert(prod, "Pods wait for nodes")
    (condition,) = nodes["conditions"]
    assert "noScaleUp" in condition["condition_matched_log"]["filter"]
    # Cloud Monitoring takes no alert about logs without one.
    assert nodes["alert_strategy"]["notification_rate_limit"] == {"period": "3600s"}


def test_people_hear_of_upgrades_and_bulletins(prod: Stack) -> None:
    (condition,) = alert(prod, "GKE upgrades the cluster")["conditions"]
    assert condition["condition_matched_log"]["filter"] == (
        'resource.type = ("gke_cluster" OR "gke_nodepool")'
        ' AND log_id("container.googleapis.com/notifications")'
        ' AND resource.labels.cluster_name = "sales-forecast"'
        ' AND NOT jsonPayload.@type:"UpgradeAvailableEvent"'
    )


def test_the_gateway_is_watched_where_there_is_one(prod: Stack, synthesis: Synthesis) -> None:
    share, enough = query(prod, "of requests fail").split(" and ")
    assert share.endswith(" > 0.05")
    assert enough.endswith(" >= 5")
    slow = threshold(prod, "One request in 100")
    assert "loadbalancing.googleapis.com/https/external/regional/backend_latencies" in slow["filter"]
    assert slow["threshold_value"] == 1000  # milliseconds
    (aggregation,) = slow["aggregations"]
    assert aggregation["cross_series_reducer"] == "REDUCE_PERCENTILE_99"
    for name in ("local", "dev"):
        stack = synthesis.stack(f"{name}-observability")
        assert "loadbalancing" not in json.dumps(stack.content)


def test_batch_is_watched_where_there_is_airflow(prod: Stack, synthesis: Synthesis) -> None:
    failed = threshold(prod, "A DAG run failed")
    assert "composer.googleapis.com/workflow/run_count" in failed["filter"]
    assert 'metric.labels.state = "failed"' in failed["filter"]
    # Not of every DAG: the one by which Composer watches itself succeeds while ours stands still.
    assert query(prod, "No run of sales_forecast has succeeded") == (
        "(sum(increase(composer_googleapis_com:workflow_run_count"
        '{workflow_name="sales_forecast", state="success"}[24h])) or vector(0)) < 1'
    )
    assert "dag_processing/parse_error_count" in threshold(prod, "cannot read a DAG file")["filter"]
    assert "dataflow.googleapis.com/job/is_failed" in threshold(prod, "A Dataflow job failed")["filter"]
    dev = json.dumps(synthesis.stack("dev-observability").content)
    assert "composer" not in dev
    assert "dataflow" not in dev


def test_the_budget_is_the_projects_and_for_a_month(prod: Stack, paged: Stack, variants: Synthesis) -> None:
    prod.none("google_billing_budget")
    api = "billingbudgets.googleapis.com"
    variants.stack("paged-foundation").one("google_project_service", service=api)
    mail = f"${{{paged.address('google_monitoring_notification_channel', type='email')}.id}}"
    budget = paged.one(
        "google_billing_budget",
        billing_account="012345-6789AB-CDEF01",
        amount={"specified_amount": {"units": "2000"}},
        budget_filter={"projects": ["projects/100000000004"], "calendar_period": "MONTH"},
        all_updates_rule={
            "monitoring_notification_channels": [mail],
            "disable_default_iam_recipients": True,
        },
    )
    assert len(budget["display_name"]) <= 60
    assert [(each["threshold_percent"], each.get("spend_basis")) for each in budget["threshold_rules"]] == [
        (0.5, None),
        (0.9, None),
        (1, None),
        (1, "FORECASTED_SPEND"),
    ]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_charts_of_the_dashboard_lie_side_by_side(synthesis: Synthesis, name: str) -> None:
    content = json.loads(
        synthesis.stack(f"{name}-observability").one("google_monitoring_dashboard")["dashboard_json"]
    )
    layout = content["mosaicLayout"]
    boxes = [
        (each.get("xPos", 0), each.get("yPos", 0), each["width"], each["height"]) for each in layout["tiles"]
    ]
    for x, _, width, _ in boxes:
        assert x + width <= layout["columns"] <= 48
    taken = {(x + i, y + j) for x, y, width, height in boxes for i in range(width) for j in range(height)}
    assert len(taken) == sum(width * height for _, _, width, height in boxes)  # nothing lies upon another
    titles = [each["widget"]["title"] for each in layout["tiles"]]
    assert len(set(titles)) == len(titles)
    for metric in (metrics.REQUESTS, metrics.REQUEST_DURATION, metrics.MESSAGES, metrics.MESSAGE_LATENCY):
        assert metric in json.dumps(content)


def test_google_calls_from_outside_and_checks_the_certificate(synthesis: Synthesis, prod: Stack) -> None:
    check = prod.one("google_monitoring_uptime_check_config")
    assert check["monitored_resource"]["labels"]["host"] == "forecast.example.com"
    assert check["http_check"]["validate_ssl"] is True
    assert check["http_check"]["path"] == LIVENESS_PATH
    assert "uptime_check_check_passed" in query(prod, "Nobody outside")
    assert "time_until_ssl_cert_expires" in query(prod, "certificate expires")
    synthesis.stack("dev-observability").none("google_monitoring_uptime_check_config")
