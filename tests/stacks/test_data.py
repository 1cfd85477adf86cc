"""Tables and buckets."""

import json

import pytest

from services.contracts.schema import bigquery_schema
from services.contracts.tables import Prediction, Request, Sale
from tests.stacks.synthesized import Synthesis


@pytest.mark.parametrize(
    ("table", "row", "partitioning", "clustering"),
    [
        ("sales.sales", Sale, {"type": "MONTH", "field": "date"}, ["store_nbr", "family"]),
        ("predictions.predictions", Prediction, {"type": "DAY", "field": "processed_at"}, ["request_id"]),
        ("predictions.requests", Request, {"type": "DAY", "field": "publish_time"}, None),
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


def test_datasets_are_in_the_region(synthesis: Synthesis) -> None:
    for dataset in ("sales", "predictions"):
        synthesis.stack("prod-data").one(
            "google_bigquery_dataset", dataset_id=dataset, location="europe-west1"
        )


@pytest.mark.parametrize(
    ("bucket", "versioned", "condition"),
    [
        ("models", True, {"num_newer_versions": 10, "with_state": "ARCHIVED"}),
        ("data", True, {"num_newer_versions": 3, "with_state": "ARCHIVED"}),
        ("staging", False, {"age": 7}),
    ],
)
def test_buckets_are_private(
    synthesis: Synthesis, bucket: str, versioned: bool, condition: dict[str, object]
) -> None:
    synthesis.stack("prod-data").one(
        "google_storage_bucket",
        name=f"sales-forecast-prod-{bucket}",
        location="EUROPE-WEST1",
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        versioning={"enabled": versioned},
        lifecycle_rule=[{"action": {"type": "Delete"}, "condition": condition}],
    )
