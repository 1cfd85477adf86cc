"""Tables, views and buckets."""

import json

import pytest

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction, Request, Sale
from tests.stacks.synthesized import Synthesis

DAY_MS = 24 * 3600 * 1000
TRANSFERS = "bigquerydatatransfer.googleapis.com"


@pytest.mark.parametrize(
    ("table", "row", "partitioning", "clustering"),
    [
        ("sales.sales", Sale, {"type": "MONTH", "field": "date"}, ["store_nbr", "family"]),
        (
            "predictions.predictions",
            Prediction,
            {"type": "DAY", "field": "processed_at", "expiration_ms": 400 * DAY_MS},
            ["request_id"],
        ),
        (
            "predictions.requests",
            Request,
            {"type": "DAY", "field": "publish_time", "expiration_ms": 90 * DAY_MS},
            None,
        ),
    ],
)
def test_tables_are_those_of_the_contracts(
    synthesis: Synthesis,
    table: str,
    row: type,
    partitioning: dict[str, str],
    clustering: list[str] | None,
) -> None:
    dataset, _, name = table.partition(".")
    data = synthesis.stack("prod-data")
    found = data.one("google_bigquery_table", dataset_id=dataset, table_id=name)
    columns = {column["name"]: column for column in json.loads(found["schema"])}
    assert list(columns.values()) == bigquery_schema(row)
    assert all(column["description"] for column in columns.values())
    assert found["time_partitioning"] == partitioning
    assert columns[partitioning["field"]]["type"] in ("DATE", "TIMESTAMP")
    assert found.get("clustering") == clustering
    assert found["depends_on"] == [data.address("google_bigquery_dataset", dataset_id=dataset)]


def test_latest_predictions_are_one_row_of_each(synthesis: Synthesis) -> None:
    data = synthesis.stack("prod-data")
    view = data.one("google_bigquery_table", dataset_id="predictions", table_id="latest_predictions")
    assert view["view"]["use_legacy_sql"] is False
    query = view["view"]["query"]
    assert all(f"`{each['name']}`" in query for each in bigquery_schema(Prediction))
    assert "FROM `sales-forecast-prod.predictions.predictions`" in query
    assert (
        "PARTITION BY `request_id`, `store_nbr`, `family`, `date` ORDER BY `processed_at` DESC) = 1" in query
    )
    table = data.address("google_bigquery_table", dataset_id="predictions", table_id="predictions")
    assert view["depends_on"] == [table]


def test_analysts_read_both_datasets_and_nothing_else(synthesis: Synthesis) -> None:
    analysts = "group:sales-analysts@example.com"
    data = synthesis.stack("prod-data")
    for dataset in ("sales", "predictions"):
        data.one(
            "google_bigquery_dataset_iam_member",
            dataset_id=dataset,
            role="roles/bigquery.dataViewer",
            member=analysts,
        )
    assert sum(each.get("member") == analysts for _, _, each in data.resources) == 2
    synthesis.stack("dev-data").none("google_bigquery_dataset_iam_member")


def test_datasets_are_in_the_region(synthesis: Synthesis) -> None:
    for dataset in ("sales", "predictions"):
        synthesis.stack("prod-data").one(
            "google_bigquery_dataset", dataset_id=dataset, location="europe-west1"
        )


@pytest.mark.parametrize(
    ("bucket", "versioned", "condition", "soft_delete_days"),
    [
        ("models", True, {"num_newer_versions": 20, "with_state": "ARCHIVED"}, 30),
        ("data", True, {"num_newer_versions": 20, "with_state": "ARCHIVED"}, 30),
        ("staging", False, {"age": 7}, 0),
    ],
)
def test_buckets_are_private_and_forgiving(
    synthesis: Synthesis,
    bucket: str,
    versioned: bool,
    condition: dict[str, object],
    soft_delete_days: int,
) -> None:
    synthesis.stack("prod-data").one(
        "google_storage_bucket",
        name=f"sales-forecast-prod-{bucket}",
        location="EU" if bucket == "models" else "EUROPE-WEST1",
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        versioning={"enabled": versioned},
        soft_delete_policy={"retention_duration_seconds": soft_delete_days * 24 * 3600},
        lifecycle_rule=[
            {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
            {"action": {"type": "Delete"}, "condition": condition},
        ],
    )


def test_models_are_in_two_regions_where_the_environment_names_a_second(synthesis: Synthesis) -> None:
    prod, dev = (synthesis.stack(f"{name}-data").all("google_storage_bucket") for name in ("prod", "dev"))
    assert {
        each["name"]: each["custom_placement_config"]["data_locations"]
        for each in (*prod.values(), *dev.values())
        if "custom_placement_config" in each
    } == {"sales-forecast-prod-models": ["EUROPE-WEST1", "EUROPE-WEST4"]}


def test_tables_are_copied_into_the_second_region_where_the_environment_names_one(
    synthesis: Synthesis,
) -> None:
    data = synthesis.stack("prod-data")
    for source in ("sales", "predictions"):
        copy = f"{source}_europe_west4"
        data.one("google_bigquery_dataset", dataset_id=copy, location="europe-west4")
        transfer = data.one(
            "google_bigquery_data_transfer_config",
            data_source_id="cross_region_copy",
            location="europe-west4",
            destination_dataset_id=copy,
            params={
                "source_project_id": "sales-forecast-prod",
                "source_dataset_id": source,
                "overwrite_destination_table": "true",
            },
            schedule="every day 08:00",
            service_account_name="sales-forecast-copies@sales-forecast-prod.iam.gserviceaccount.com",
        )
        # Google tells a missing grant with the first run, a day later.
        grants = "google_bigquery_dataset_iam_member"
        copier = {"member": "serviceAccount:" + transfer["service_account_name"]}
        for dataset in (source, copy):
            assert data.address(grants, dataset_id=dataset, **copier) in transfer["depends_on"]
    assert len(data.all("google_bigquery_data_transfer_config")) == 2
    for name in ("dev", "staging"):
        synthesis.stack(f"{name}-data").none("google_bigquery_data_transfer_config")
        synthesis.stack(f"{name}-foundation").none("google_project_service", service=TRANSFERS)
    synthesis.stack("prod-foundation").one("google_project_service", service=TRANSFERS)


def test_who_copies_cannot_let_anybody_read_a_copy(synthesis: Synthesis) -> None:
    role = synthesis.stack("prod-foundation").one("google_project_iam_custom_role", role_id="copyReplacer")
    assert "bigquery.datasets.update" in role["permissions"]
    assert not any(each.endswith("setIamPolicy") or "*" in each for each in role["permissions"])


def test_no_query_reads_all_partitions(synthesis: Synthesis) -> None:
    data = synthesis.stack("prod-data")
    tables = [each for each in data.all("google_bigquery_table").values() if "view" not in each]
    assert len(tables) == 5
    assert all(each["require_partition_filter"] for each in tables)
    view = data.one("google_bigquery_table", dataset_id="predictions", table_id="latest_predictions")
    assert (
        "WHERE `processed_at` >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY) QUALIFY"
        in view["view"]["query"]
    )


def test_a_query_has_a_cap_for_each_user_and_day(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    foundation.one(
        "google_cloud_quotas_quota_preference",
        service="bigquery.googleapis.com",
        quota_id="QueryUsagePerUserPerDay",
        quota_config={"preferred_value": str(500 * 1024)},
    )
    synthesis.stack("dev-foundation").none("google_cloud_quotas_quota_preference")


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_a_cap_waits_for_the_api_that_it_caps(synthesis: Synthesis, name: str) -> None:
    foundation = synthesis.stack(f"{name}-foundation")
    for cap in foundation.all("google_cloud_quotas_quota_preference").values():
        for service in ("cloudquotas.googleapis.com", cap["service"]):
            assert foundation.address("google_project_service", service=service) in cap["depends_on"]


def test_machines_have_caps_in_their_region(synthesis: Synthesis) -> None:
    for name, caps in (("prod", {"CPUS": 180, "N2-CPUS": 64}), ("staging", {"CPUS": 64, "N2-CPUS": 8})):
        for family, most in caps.items():
            synthesis.stack(f"{name}-foundation").one(
                "google_cloud_quotas_quota_preference",
                service="compute.googleapis.com",
                quota_id=f"{family}-per-project-region",
                dimensions={"region": "europe-west1"},
                quota_config={"preferred_value": str(most)},
                ignore_safety_checks="QUOTA_DECREASE_PERCENTAGE_TOO_HIGH",
            )
