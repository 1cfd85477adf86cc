"""The queries of alerts and dashboards as Prometheus evaluates them (Debian package `prometheus`)."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.contracts import metrics
from tests.stacks.synthesized import Stack, Synthesis

FAST = "prediction: 2% of the error budget for availability in 1 h"
GATEWAY = "More than 5 % of requests fail"
SLOW = "streaming: 2% of the error budget for freshness in 1 h"
COUNTERS = {
    FAST: metrics.REQUESTS + '_total{route="/predict", code="%d"}',
    GATEWAY: 'loadbalancing_googleapis_com:https_external_regional_request_count{response_code_class="%d"}',
}
"""Counter of each alert, by the code of the answer."""


@pytest.fixture
def prod(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-observability")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is absent: run scripts/debian_packages.sh")
    return subprocess.run([found, *arguments], check=False, capture_output=True, text=True)


def alerts(stack: Stack) -> dict[str, str]:
    """Query of each alert, by title without the environment."""
    return {
        policy["display_name"].removeprefix("prod: "): condition["condition_prometheus_query_language"][
            "query"
        ]
        for policy in stack.all("google_monitoring_alert_policy").values()
        for condition in policy["conditions"]
        if "condition_prometheus_query_language" in condition
    }


def test_prometheus_parses_every_query(prod: Stack, tmp_path: Path) -> None:
    dashboard = prod.one("google_monitoring_dashboard")["dashboard_json"]
    charts = [
        json.loads(f'"{each}"') for each in re.findall(r'"prometheusQuery": ?"((?:\\.|[^"])*)"', dashboard)
    ]
    assert len(charts) > 20
    queries = [*alerts(prod).values(), *charts]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    checked = promtool("check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr + checked.stdout


def firing(prod: Stack, folder: Path, title: str, series: dict[str, str], minutes: int) -> bool:
    """Whether an alert fires after so many minutes of these series, which have a sample a minute."""
    rules: dict[str, Any] = {
        "groups": [{"name": "all", "rules": [{"alert": "it", "expr": alerts(prod)[title]}]}]
    }
    (folder / "rules.json").write_text(json.dumps(rules))
    trial = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": "it", "exp_alerts": []}],
            }
        ],
    }
    (folder / "trial.json").write_text(json.dumps(trial))
    tried = promtool("test", "rules", str(folder / "trial.json"))
    output = tried.stdout + tried.stderr
    assert (tried.returncode == 0) == ("SUCCESS" in output), output
    assert tried.returncode == 0 or "got:[" in output.replace(" ", "").replace("\n", ""), output
    return tried.returncode != 0


@pytest.mark.parametrize(
    ("title", "good", "bad", "fires"),
    [
        pytest.param(FAST, "0+60x120", "0+10x120", True, id="an outage among many requests"),
        pytest.param(FAST, "0x120", "0+1x120", True, id="each of few requests fails"),
        pytest.param(FAST, "0+0.5x120", "0x117 1x3", False, id="one request of thirty in an hour fails"),
        pytest.param(FAST, "0+60x120", "0+0.3x120", False, id="half a percent fails, as for 5.6 days"),
        pytest.param(FAST, "0+60x120", "0+10x60 600x60", False, id="an outage that ended an hour ago"),
        pytest.param(GATEWAY, "0+60x120", "0+10x120", True, id="an outage at the gateway"),
        pytest.param(GATEWAY, "0+60x120", "0x120", False, id="none fails at the gateway"),
        pytest.param(GATEWAY, "0+2x120", "0x115 1x5", False, id="one of ten fails at the gateway"),
    ],
)
def test_an_outage_raises_the_alert_and_chance_does_not(
    prod: Stack, tmp_path: Path, title: str, good: str, bad: str, fires: bool
) -> None:
    series = {COUNTERS[title] % code: values for code, values in ((200, good), (500, bad))}
    assert firing(prod, tmp_path, title, series, 119) is fires


@pytest.mark.parametrize(("late", "fires"), [("0+60x120", False), ("0+30x120", True), ("0x120", True)])
def test_late_answers_raise_the_alert(prod: Stack, tmp_path: Path, late: str, fires: bool) -> None:
    series = {
        metrics.MESSAGE_LATENCY + "_count": "0+60x120",
        metrics.MESSAGE_LATENCY + '_bucket{le="30.0"}': late,
        metrics.MESSAGE_LATENCY + '_bucket{le="+Inf"}': "0+60x120",
    }
    assert firing(prod, tmp_path, SLOW, series, 119) is fires


def test_no_requests_raise_no_alert(prod: Stack, tmp_path: Path) -> None:
    assert firing(prod, tmp_path, FAST, {"up": "1x120"}, 119) is False
