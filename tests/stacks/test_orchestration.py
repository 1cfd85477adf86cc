"""Airflow."""

import json
import re
from datetime import datetime

import pytest

from infra.environment.orchestration import AIRFLOW_VERSION
from services.contracts.settings import DagSettings, from_environment
from tests.stacks.synthesized import ROOT, Stack, Synthesis

DAGS = ROOT / "services" / "batch" / "dags"
AIRFLOW = "serviceAccount:sales-forecast-airflow@sales-forecast-prod.iam.gserviceaccount.com"
CI_APPLY = "serviceAccount:sales-forecast-ci-apply@sales-forecast-prod.iam.gserviceaccount.com"


@pytest.fixture
def prod(synthesis: Synthesis) -> Stack:
    return synthesis.stack("prod-orchestration")


def test_it_is_private_and_waits_until_its_account_may_work(prod: Stack) -> None:
    composer = prod.one(
        "google_composer_environment",
        name="sales-forecast",
        region="europe-west1",
        config={
            "enable_private_environment": True,
            "node_config": {
                "network": "projects/sales-forecast-prod/global/networks/sales-forecast",
                "subnetwork": (
                    "projects/sales-forecast-prod/regions/europe-west1/subnetworks/sales-forecast-nodes"
                ),
                "service_account": AIRFLOW.removeprefix("serviceAccount:"),
            },
            "web_server_network_access_control": {"allowed_ip_range": [{"value": "203.0.113.0/24"}]},
            "software_config": {
                "image_version": f"composer-3-airflow-{AIRFLOW_VERSION}",
                "web_server_plugins_mode": "DISABLED",
            },
        },
    )
    bucket = "google_storage_bucket_iam_member"
    assert prod.awaited(composer) == {
        prod.address(bucket, bucket="sales-forecast-prod-airflow", member=AIRFLOW),
        prod.address(bucket, bucket="sales-forecast-prod-airflow-snapshots", member=AIRFLOW),
        # A deny policy closes every bucket that lacks the tag.
        *(
            f"google_tags_location_tag_binding.{name}"
            for name in prod.content["resource"]["google_tags_location_tag_binding"]
        ),
    }


def test_packages_come_over_the_internet_only_if_there_are_any(synthesis: Synthesis) -> None:
    for name, packages in (("prod", {"apache-airflow-providers-smtp": "==3.2.0"}), ("local", None)):
        config = synthesis.stack(f"{name}-orchestration").one("google_composer_environment")["config"]
        assert config["software_config"].get("pypi_packages") == packages
        assert config["enable_private_builds_only"] is (packages is None)


def test_production_survives_the_loss_of_a_zone(synthesis: Synthesis) -> None:
    synthesis.stack("prod-orchestration").one(
        "google_composer_environment",
        config={
            "environment_size": "ENVIRONMENT_SIZE_MEDIUM",
            "resilience_mode": "HIGH_RESILIENCE",
            "workloads_config": {
                "scheduler": {"cpu": 1, "memory_gb": 4, "storage_gb": 1, "count": 2},
                "dag_processor": {"cpu": 1, "memory_gb": 4, "storage_gb": 1, "count": 2},
                "triggerer": {"cpu": 0.5, "memory_gb": 1, "count": 2},
                "web_server": {"cpu": 1, "memory_gb": 4, "storage_gb": 1},
                "worker": {"cpu": 2, "memory_gb": 8, "storage_gb": 10, "min_count": 2, "max_count": 6},
            },
        },
    )
    synthesis.stack("staging-orchestration").one(
        "google_composer_environment",
        config={"environment_size": "ENVIRONMENT_SIZE_SMALL", "resilience_mode": "STANDARD_RESILIENCE"},
    )


def test_maintenance_has_twelve_hours_a_week(synthesis: Synthesis) -> None:
    for name in ("local", "staging", "prod"):
        composer = synthesis.stack(f"{name}-orchestration").one("google_composer_environment")
        window = composer["config"]["maintenance_window"]
        start, end = (datetime.fromisoformat(window[key]) for key in ("start_time", "end_time"))
        days = window["recurrence"].removeprefix("FREQ=WEEKLY;BYDAY=").split(",")
        assert (end - start).total_seconds() * len(days) >= 12 * 3600, name


def test_it_can_be_recovered_from_a_bucket_of_its_own(prod: Stack) -> None:
    prod.one(
        "google_composer_environment",
        config={
            "recovery_config": {
                "scheduled_snapshots_config": {
                    "enabled": True,
                    "snapshot_location": "gs://sales-forecast-prod-airflow-snapshots/sales-forecast",
                    "snapshot_creation_schedule": "0 5 * * *",
                    "time_zone": "UTC",
                }
            },
            "data_retention_config": {
                "airflow_metadata_retention_config": [
                    {"retention_mode": "RETENTION_MODE_ENABLED", "retention_days": 180}
                ]
            },
        },
    )
    prod.one("google_storage_bucket", name="sales-forecast-prod-airflow-snapshots")


def test_terraform_waits_long_enough_and_destroys_none_that_is_protected(prod: Stack) -> None:
    composer = prod.one("google_composer_environment")
    assert composer["timeouts"] == {"create": "150m", "update": "150m", "delete": "60m"}
    assert composer["lifecycle"] == {"prevent_destroy": True}


def test_tasks_find_the_settings_of_the_batch_commands(prod: Stack) -> None:
    software = prod.one("google_composer_environment")["config"]["software_config"]
    settings = from_environment(DagSettings, software["env_variables"])
    assert settings.model_bucket == "sales-forecast-prod-models"
    assert settings.sales_table == "sales-forecast-prod.sales.sales"
    assert (settings.steps_runner, settings.steps_job_endpoint) == ("DataflowRunner", None)
    # Composer refuses these: they are settings of Airflow.
    assert not [name for name in software["env_variables"] if re.fullmatch("AIRFLOW__.*__.*", name)]


def test_connections_are_secrets_whose_values_nobody_here_knows(prod: Stack, variants: Synthesis) -> None:
    overrides = prod.one("google_composer_environment")["config"]["software_config"][
        "airflow_config_overrides"
    ]
    assert overrides["secrets-backend"].endswith(".CloudSecretManagerBackend")
    assert json.loads(overrides["secrets-backend_kwargs"]) == {
        "connections_prefix": "airflow-connections",
        "variables_prefix": None,
        "config_prefix": None,
    }
    mail = {"secret_id": "airflow-connections-smtp_default"}
    replication = {"user_managed": {"replicas": [{"location": "europe-west1"}]}}
    prod.one("google_secret_manager_secret", **mail, replication=replication, deletion_protection=True)
    prod.one(
        "google_secret_manager_secret_iam_member",
        **mail,
        role="roles/secretmanager.secretAccessor",
        member=AIRFLOW,
    )
    prod.none("google_secret_manager_secret_version")
    paged = variants.stack("paged-orchestration")
    secrets = {each["secret_id"] for each in paged.all("google_secret_manager_secret").values()}
    assert secrets == {f"airflow-connections-{id_}" for id_ in ("smtp_default", "pagerduty_default")}
    # The DAGs' code asks for these; of mail, Airflow's hook does.
    alerts = (DAGS / "forecast_alerts.py").read_text()
    assert 'get_connection("pagerduty_default")' in alerts
    assert "SmtpHook()" in alerts


def test_steps_run_as_accounts_of_their_own(prod: Stack) -> None:
    variables = prod.one("google_composer_environment")["config"]["software_config"]["env_variables"]
    image = variables["STEPS_IMAGE"]
    assert image.startswith("europe-west1-docker.pkg.dev/sales-forecast-prod/sales-forecast/batch@")
    folder, _, name = variables["DATAFLOW_TEMPLATE"].removeprefix("gs://").partition("/")
    template = prod.one("google_storage_bucket_object", bucket=folder, name=name)
    assert json.loads(template["content"])["image"] == image
    assert variables["DATAFLOW_SUBNETWORK"] == (
        "https://www.googleapis.com/compute/v1/projects/sales-forecast-prod/"
        "regions/europe-west1/subnetworks/sales-forecast-nodes"
    )
    namespace = {"namespace": variables["STEPS_NAMESPACE"]}
    account = prod.one("kubernetes_service_account_v1", metadata=namespace)
    assert account["metadata"]["name"] == variables["STEPS_ACCOUNT"]
    binding = prod.one("kubernetes_role_binding_v1", metadata=namespace)
    assert [each["name"] for each in binding["subject"]] == [variables["STEPS_STARTER"]]
    assert variables["STEPS_STARTER"].startswith("sales-forecast-starter@")
    role = prod.one("kubernetes_role_v1", metadata=namespace)
    assert role["metadata"]["name"] == binding["role_ref"]["name"]
    assert {each for rule in role["rule"] for each in rule["api_groups"]} == {""}
    assert "secrets" not in {each for rule in role["rule"] for each in rule["resources"]}


def test_dag_files_are_objects_of_its_bucket(prod: Stack) -> None:
    files = {f"dags/{file.relative_to(DAGS).as_posix()}": file for file in DAGS.rglob("*.py")}
    composer = prod.one("google_composer_environment")
    objects = prod.all("google_storage_bucket_object").values()
    assert files
    assert {each["name"] for each in objects} >= files.keys()
    for each in objects:
        if not each["name"].startswith("dags/"):
            continue
        assert each["bucket"] == composer["storage_config"]["bucket"]
        # Of a `source`, another path is another object: Terraform deletes a DAG before it uploads the next.
        assert "source" not in each
        content = each["content"].replace("$${", "${").replace("%%{", "%{")
        assert content == (DAGS / each["name"].removeprefix("dags/")).read_text()


def test_logs_do_not_pile_up(prod: Stack) -> None:
    bucket = prod.one("google_storage_bucket", name="sales-forecast-prod-airflow")
    condition = {"age": 180, "matches_prefix": ["logs/"]}
    assert {"action": {"type": "Delete"}, "condition": condition} in bucket["lifecycle_rule"]


def test_the_tests_know_the_same_airflow() -> None:
    lock = (ROOT / "requirements" / "airflow.lock").read_text()
    assert f"\napache-airflow=={AIRFLOW_VERSION} " in lock
