"""What environments cost by list price: figures worked out by hand; nothing that is billed is left out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import environment
from scripts.command import CommandError
from scripts.deployment import cost, prices, terraform
from tests.conftest import REPOSITORY
from tests.stacks.synthesized import Synthesis, committed

REGION = "europe-west1"

# Types that Google does not bill for, or whose costs are those of another resource.
FREE = re.compile(
    r"_iam_|_schema$|_subscription$|_service_accounts?$|_subnetwork$|kubernetes_|terraform_data|_workload_identity"
    r"|google_(compute_(network|router|region_ssl_policy)|project_service|binary_authorization_.*|tags_.*"
    r"|bigquery_dataset|container_analysis_note|kms_key_ring|storage_bucket_object|certificate_manager_.*|billing_budget"
    r"|cloud_quotas_quota_preference|dns_record_set|gke_backup_restore_plan|logging_project_(exclusion|sink)"
    r"|monitoring_(alert_policy|dashboard|notification_channel))$"
)


def pool(machine: str, least: int, most: int, *, spot: bool = False) -> dict[str, Any]:
    return {
        "node_config": {
            "machine_type": machine,
            "disk_size_gb": 50,
            "disk_type": "pd-balanced",
            "spot": spot,
        },
        "autoscaling": {"total_min_node_count": least, "total_max_node_count": most},
    }


def costs(kind: str, values: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [(each.what, each.idle, each.full) for each in prices.costs(kind, values, REGION)]


def test_nodes_from_fewest_to_most() -> None:
    nodes, disks, nat = costs("google_container_node_pool", pool("e2-standard-4", 1, 40))
    node = 730 * 4 * 0.03685773
    assert nodes == ("1 to 40 nodes e2-standard-4", pytest.approx(node), pytest.approx(40 * node))
    assert disks == ("their disks of 50 GB", 5, 200)
    assert nat[1:] == (pytest.approx(730 * 0.0014), pytest.approx(730 * 0.0014 * 32)), (
        "NAT bills 32 nodes at most"
    )
    spot, *_ = costs("google_container_node_pool", pool("e2-standard-4", 0, 2, spot=True))
    assert spot == ("0 to 2 spot nodes e2-standard-4", 0, pytest.approx(2 * 730 * 4 * 0.020666))


def test_a_machine_without_a_price_is_not_guessed() -> None:
    [unknown] = costs("google_container_node_pool", pool("z3-highmem-88", 1, 2))
    assert unknown == ("1 to 2 nodes z3-highmem-88: not counted, no list price", 0, 0)


def test_airflow_pays_for_its_processes_from_fewest_to_most() -> None:
    workloads = {
        "scheduler": {"cpu": 1, "memory_gb": 4, "count": 2},
        "triggerer": {"cpu": 0.5, "memory_gb": 1, "count": 0},
        "web_server": {"cpu": 1, "memory_gb": 2},
        "worker": {"cpu": 2, "memory_gb": 8, "min_count": 1, "max_count": 5},
    }
    [airflow] = costs("google_composer_environment", {"config": {"workloads_config": workloads}})
    assert airflow[0] == "Airflow's processes; assumed: 0.6 DCU a CPU, 0.1 a GB of memory"
    others, worker = 2 * (0.6 + 0.4) + (0.6 + 0.2), 2 * 0.6 + 0.8
    assert airflow[1:] == (
        pytest.approx(730 * 0.06 * (others + worker)),
        pytest.approx(730 * 0.06 * (others + 5 * worker)),
    )
    planned = {"config": [{"workloads_config": [{name: [each] for name, each in workloads.items()}]}]}
    assert costs("google_composer_environment", planned) == [airflow]


def test_cloud_armor_pays_for_the_policy_and_its_rules() -> None:
    found = costs(
        "google_compute_region_security_policy", {"rules": [{"priority": each} for each in range(3)]}
    )
    assert found == [("Cloud Armor: a policy of 3 rules", 8, 8)]


def test_a_change_adds_what_its_plan_adds() -> None:
    before, after = pool("e2-standard-2", 1, 3), pool("e2-standard-4", 1, 3)
    before["node_config"], before["autoscaling"] = (
        [before["node_config"]],
        [before["autoscaling"]],
    )  # as in a plan
    kind = "google_container_node_pool"
    changes = [
        {"type": kind, "change": {"before": before, "after": after}},
        {"type": "google_container_cluster", "change": {"before": None, "after": {"name": "new"}}},
        {"type": "google_compute_router_nat", "change": {"before": {"name": "old"}, "after": None}},
    ]
    added = prices.difference(changes, REGION)
    node = 730 * 2 * 0.03685773
    assert added.idle == pytest.approx(node + 73 - 3.65, abs=0.01)
    assert added.full == pytest.approx(3 * node + 73 - 3.65, abs=0.01)


def test_a_region_without_prices() -> None:
    with pytest.raises(CommandError, match=r"no list prices of mars-north1: .* as those of europe-west1"):
        prices.difference([], "mars-north1")


def test_each_price_has_its_source_and_date() -> None:
    listed = prices.prices(REGION)
    tables = ("fixed", "use", "machine", "disk")
    others = [each for name, each in listed.items() if name not in (*tables, "not_counted")]
    for each in (*others, *(price for name in tables for price in listed[name].values())):
        assert each["source"]
        assert each["date"].year >= 2025


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    return committed(tmp_path_factory)


def test_whatever_is_billed_is_named(stacks: Synthesis) -> None:
    listed = prices.prices(REGION)
    named = {*listed["use"], *listed["not_counted"], "google_container_node_pool"}
    kinds = {kind for stack in stacks.stacks for kind, _, _ in stack.resources}
    assert {kind for kind in kinds - named if not FREE.search(kind)} == set()


def test_the_command_prints_stacks_sums_uses_and_what_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stacks: Synthesis,
    synthesize: Callable[[str, Path], terraform.Synthesis],
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(cost, "synthesize", synthesize)
    assert cost.main(["dev"]) == 0
    printed = capsys.readouterr().out
    assert "dev: US dollars a month, list prices" in printed
    parts = [
        cost.total(cost.of_stack(stacks.stack(f"dev-{stack}").content, REGION), stack)
        for stack in environment.load("dev").stacks
    ]
    for row in ("dev-cluster", "together", parts[2]), ("dev", "all stacks", cost.total(parts, "dev")):
        name, what, sum_ = row
        assert re.search(rf"│ {name} +│ {what} +│ +{sum_.idle:,.2f} │ +{sum_.full:,.2f} │", printed)
    assert re.search(r"│ 1 to 3 nodes e2-standard-2 +│ +[\d.]+ │ +[\d.]+ │", printed)
    uses, _, rest = printed.partition("By use, not in the sums:\n")[2].partition("Not counted:\n")
    assert (
        "  BigQuery: queries 7.50 per TiB after 1 TiB, storage 0.02 per GiB and month after 10 GiB (2026"
        in uses
    )
    assert "  logs kept longer than 30 days: 0.01" in uses
    assert "longer than 30 days" not in rest
    assert "  BigQuery: rows written" in rest
    assert "Composer" not in printed, "dev has none"


def test_the_command_knows_where_there_is_no_bill(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["local"]) == 1
    assert "costs nothing" in capsys.readouterr().err


def test_the_readme_quotes_the_sums(stacks: Synthesis) -> None:
    text = (REPOSITORY / "README.md").read_text().replace("\n", " ")
    for name in ("dev", "staging", "prod"):
        target = environment.load(name)
        parts = [
            each
            for stack in target.stacks
            for each in cost.of_stack(stacks.stack(f"{name}-{stack}").content, target.region)
        ]
        whole = cost.total(parts, name)
        assert f"{name} {whole.idle:,.0f} to {whole.full:,.0f}" in text
