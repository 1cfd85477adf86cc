"""Datasets, tables and BigQuery subscriptions, by Terraform."""

import base64
import itertools
import json
import re
from typing import Any

import httpx
import pytest

from infra.simulator import processes
from tests.conftest import REPOSITORY, wait_for
from tests.integration.conftest import PROJECT, Cloud, Terraform

TABLE = "google_bigquery_table.requests"
SUBSCRIPTION = "google_pubsub_subscription.save"
BRIDGE = f"bridge.{PROJECT}.save"
COPY = "sales_europe_west4"
VIEW = "google_bigquery_table.latest"
NEWEST = """
    SELECT message_id, attributes  -- by message
    FROM `test-project.raw.requests`
    QUALIFY ROW_NUMBER() OVER (PARTITION BY message_id ORDER BY publish_time DESC) = 1
"""
_SECONDS = itertools.count()
COLUMNS: list[dict[str, Any]] = [
    {"name": "subscription_name", "type": "STRING", "mode": "REQUIRED", "description": "who"},
    {"name": "message_id", "type": "STRING", "mode": "REQUIRED"},
    {"name": "publish_time", "type": "TIMESTAMP", "mode": "REQUIRED"},
    {"name": "attributes", "type": "STRING"},
    {"name": "data", "type": "BYTES"},
]


def stack(columns: list[dict[str, Any]] = COLUMNS, **table: Any) -> dict[str, Any]:
    """A dataset with a table; keyword arguments replace those of the table."""
    defaults = {
        "dataset_id": "${google_bigquery_dataset.raw.dataset_id}",
        "table_id": "requests",
        "deletion_protection": False,
        "description": "as published",
        "clustering": ["message_id"],
        "time_partitioning": {"type": "DAY", "field": "publish_time", "expiration_ms": 86400000},
        "schema": json.dumps(columns),
    }
    dataset = {"dataset_id": "raw", "location": "EU", "default_table_expiration_ms": 3600000}
    return {
        "google_bigquery_dataset": {"raw": dataset},
        "google_bigquery_table": {"requests": defaults | table},
    }


def tables(columns: list[dict[str, Any]], query: str = NEWEST, **view: Any) -> dict[str, Any]:
    """The table, and a view of it; keyword arguments replace those of the view."""
    defaults = {
        "dataset_id": "${google_bigquery_table.requests.dataset_id}",
        "table_id": "latest",
        "deletion_protection": False,
        "description": "newest",
        "view": [{"query": query, "use_legacy_sql": False}],
    }
    return stack(columns)["google_bigquery_table"] | {"latest": defaults | view}


def viewed(query: str = NEWEST, **view: Any) -> dict[str, Any]:
    """A dataset with a table and a view of it."""
    return stack() | {"google_bigquery_table": tables(COLUMNS, query, **view)}


def insert(cloud: Cloud, **values: Any) -> None:
    """Add a row; a later one was published later."""
    row = {"subscription_name": "s", "publish_time": f"2026-01-01T00:00:{next(_SECONDS):02}Z"} | values
    cloud.bigquery("POST", "datasets/raw/tables/requests/insertAll", {"rows": [{"json": row}]})


def delivered(columns: list[dict[str, Any]] = COLUMNS, **config: Any) -> dict[str, Any]:
    """The same with a subscription that writes to the table, and may."""
    target = f"{PROJECT}.${{{TABLE}.dataset_id}}.${{{TABLE}.table_id}}"
    subscription = {
        "name": "save",
        "topic": "${google_pubsub_topic.range.id}",
        "bigquery_config": {"table": target, "write_metadata": True} | config,
        "depends_on": ["google_bigquery_table_iam_member.write"],
    }
    grant = {
        "dataset_id": f"${{{TABLE}.dataset_id}}",
        "table_id": f"${{{TABLE}.table_id}}",
        "role": "roles/bigquery.dataEditor",
        "member": "serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com",
    }
    return stack(columns) | {
        "google_bigquery_table_iam_member": {"write": grant},
        "google_pubsub_topic": {"range": {"name": "range"}},
        "google_pubsub_subscription": {"save": subscription},
    }


def publish(address: str, *bodies: bytes) -> None:
    messages = [{"data": base64.b64encode(body).decode(), "attributes": {"kind": "test"}} for body in bodies]
    url = f"http://{address}/v1/projects/{PROJECT}/topics/range:publish"
    httpx.post(url, json={"messages": messages}).raise_for_status()


def bodies(cloud: Cloud) -> list[bytes]:
    rows = cloud.query("SELECT data FROM raw.requests ORDER BY publish_time, message_id")
    return [base64.b64decode(data or "") for (data,) in rows]


def copy_table(cloud: Cloud, source: str, destination: str) -> None:
    """Replace a table by another one, as `bq cp --force` does."""
    names = {"sourceTable": source, "destinationTable": destination}
    tables = {
        key: {"projectId": PROJECT, "datasetId": name.partition(".")[0], "tableId": name.partition(".")[2]}
        for key, name in names.items()
    }
    copy = {**tables, "writeDisposition": "WRITE_TRUNCATE"}
    assert cloud.bigquery("POST", "jobs", {"configuration": {"copy": copy}})["status"]["state"] == "DONE"


class TestRestore:
    def test_the_drill_brings_deleted_rows_back(self, cloud: Cloud, terraform: Terraform) -> None:
        """The statements of docs/operations.md; the emulator knows a table's rows of now only."""
        text = (REPOSITORY / "docs" / "operations.md").read_text().replace("\\\n", "")  # as a shell does
        drill = [sql for _, sql in re.findall(r"bq query --use_legacy_sql=false (['\"])(.+?)\1", text, re.S)]
        assert len(drill) == 3
        columns = json.dumps([{"name": "date", "type": "DATE"}, {"name": "sales", "type": "INTEGER"}])
        terraform.apply(
            {
                "google_bigquery_dataset": {
                    name: {"dataset_id": name, "location": location, "delete_contents_on_destroy": True}
                    for name, location in (("sales", "EU"), ("staging", "EU"), (COPY, "europe-west4"))
                },
                "google_bigquery_table": {
                    "sales": {
                        "dataset_id": "${google_bigquery_dataset.sales.dataset_id}",
                        "table_id": "sales",
                        "schema": columns,
                        "deletion_protection": False,
                    }
                },
            }
        )
        cloud.query("INSERT INTO sales.sales VALUES (DATE '2024-01-01', 3), (DATE '2024-01-02', 4)")
        before = cloud.query("SELECT * FROM sales.sales ORDER BY date")
        then, lost, back = (sql.partition("FOR SYSTEM_TIME")[0] for sql in drill)
        cloud.query(then)
        cloud.query(lost)
        assert cloud.query("SELECT * FROM sales.sales") == []
        cloud.query(back)
        assert cloud.query("SELECT * FROM sales.sales ORDER BY date") == before

        [(copied, restored)] = re.findall(r"bq cp --force P:(\S+) P:(\S+)", text)
        assert (copied, restored) == (f"{COPY}.sales", "sales.sales")
        copy_table(cloud, restored, copied)  # as the transfer of the day did
        cloud.query(lost)
        copy_table(cloud, copied, restored)
        assert cloud.query("SELECT * FROM sales.sales ORDER BY date") == before
        assert terraform.plan() == {}


class TestTables:
    def test_created_as_declared_and_empty_plan(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(stack())
        table = cloud.bigquery("GET", "datasets/raw/tables/requests")
        assert [(field["name"], field["type"]) for field in table["schema"]["fields"]] == [
            (column["name"], column["type"]) for column in COLUMNS
        ]
        assert table["timePartitioning"] == {
            "type": "DAY",
            "field": "publish_time",
            "expirationMs": "86400000",
        }
        assert table["clustering"] == {"fields": ["message_id"]}
        assert table["description"] == "as published"
        assert cloud.bigquery("GET", "datasets/raw")["defaultTableExpirationMs"] == "3600000"
        assert terraform.plan() == {}

    def test_other_spellings_of_a_schema_are_no_change(self, terraform: Terraform) -> None:
        columns = [{"name": "n", "type": "INTEGER"}, {"name": "x", "type": "FLOAT", "mode": "NULLABLE"}]
        terraform.apply(stack(columns, time_partitioning=[], clustering=None))
        assert terraform.plan() == {}

    def test_columns_are_added_and_relaxed_in_place(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(stack())
        row = {"subscription_name": "s", "message_id": "1", "publish_time": "2026-01-01T00:00:00Z"}
        path = "datasets/raw/tables/requests/insertAll"
        cloud.bigquery("POST", path, {"rows": [{"json": row}]})
        extra = {"name": "extra", "type": "INTEGER"}
        share = {"name": "share", "type": "NUMERIC", "mode": "NULLABLE"}
        relaxed = [COLUMNS[0] | {"mode": "NULLABLE", "description": "whom"}, extra, *COLUMNS[1:], share]
        terraform.configure(stack(relaxed, clustering=None, description="wider"))
        assert terraform.plan() == {TABLE: "update"}
        terraform.apply()
        assert terraform.plan() == {}
        wide = row | {"message_id": "2", "data": "aGk=", "extra": 7, "share": "0.5"}
        cloud.bigquery("POST", path, {"rows": [{"json": wide}]})
        query = "SELECT message_id, extra, share = 0.5, data FROM raw.requests ORDER BY 1"
        assert cloud.query(query)[1] == ["2", "7", "true", "aGk="]
        assert len(cloud.query(query)) == 2

    def test_other_changes_of_columns_replace(self, terraform: Terraform) -> None:
        terraform.apply(stack())
        changes: dict[str, list[dict[str, Any]]] = {
            "removed": COLUMNS[:-1],
            "other type": [COLUMNS[0] | {"type": "BYTES"}, *COLUMNS[1:]],
            "now required": [*COLUMNS[:-1], COLUMNS[-1] | {"mode": "REQUIRED"}],
            "new and required": [*COLUMNS, {"name": "new", "type": "STRING", "mode": "REQUIRED"}],
        }
        for change, columns in changes.items():
            terraform.configure(stack(columns))
            assert terraform.plan() == {TABLE: "replace"}, change

    def test_drift_of_columns_is_detected_and_repaired(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(stack())
        cloud.query("ALTER TABLE raw.requests DROP COLUMN attributes")
        assert terraform.plan() == {TABLE: "update"}
        terraform.apply()
        assert terraform.plan() == {}
        cloud.query("ALTER TABLE raw.requests ADD COLUMN surprise STRING")
        assert terraform.plan() == {TABLE: "replace"}
        terraform.apply()
        assert terraform.plan() == {}
        cloud.bigquery("DELETE", "datasets/raw/tables/requests")
        assert terraform.plan() == {TABLE: "create"}
        terraform.apply()
        assert terraform.plan() == {}

    def test_protected_until_deletion_protection_is_false(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(stack(deletion_protection=True))
        message = terraform.refused({})
        assert "Cannot delete projects/test-project/datasets/raw/tables/requests" in message
        assert "deletion_protection" in message
        assert cloud.bigquery("GET", "datasets/raw/tables/requests")["numRows"] == "0"
        terraform.apply(stack())
        terraform.apply({})
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            cloud.bigquery("GET", "datasets/raw")

    def test_a_dataset_with_foreign_tables_stays(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(stack())
        cloud.bigquery("POST", "datasets/raw/tables", {"tableReference": {"tableId": "foreign"}})
        assert "it holds the tables foreign" in terraform.refused({})
        cloud.bigquery("DELETE", "datasets/raw/tables/foreign")

    def test_refusals_name_the_argument(self, terraform: Terraform) -> None:
        view = {"query": "SELECT 1"}
        assert "materialized_view has no counterpart on a laptop" in terraform.refused(
            stack(materialized_view=view, time_partitioning=[], clustering=None)
        )
        tags = {"name": "tags", "type": "STRING", "mode": "REPEATED"}
        assert "column tags: records and repeated columns" in terraform.refused(stack([*COLUMNS, tags]))


class TestViews:
    def test_life_of_a_view(self, cloud: Cloud, terraform: Terraform) -> None:
        """It returns its query, changes in place, and leaves its table when it goes."""
        terraform.apply(viewed())
        insert(cloud, message_id="1", attributes="old")
        insert(cloud, message_id="1", attributes="new")
        insert(cloud, message_id="2", attributes="only")
        assert sorted(cloud.query("SELECT * FROM raw.latest")) == [["1", "new"], ["2", "only"]]
        live = cloud.bigquery("GET", "datasets/raw/tables/latest")
        assert (live["type"], live["description"]) == ("VIEW", "newest")
        assert [field["name"] for field in live["schema"]["fields"]] == ["message_id", "attributes"]
        assert terraform.plan() == {}

        query = "SELECT message_id, UPPER(attributes) AS attributes FROM `test-project.raw.requests`"
        terraform.configure(viewed(query, description="loud"))
        assert terraform.plan() == {VIEW: "update"}
        terraform.apply()
        loud = sorted(cloud.query("SELECT attributes FROM raw.latest"))
        assert loud == [["NEW"], ["OLD"], ["ONLY"]]
        assert cloud.bigquery("GET", "datasets/raw/tables/latest")["description"] == "loud"
        assert terraform.plan() == {}

        terraform.apply(stack())
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            cloud.bigquery("GET", "datasets/raw/tables/latest")
        assert len(cloud.query("SELECT * FROM raw.requests")) == 3

    def test_columns_follow_the_query(self, terraform: Terraform) -> None:
        terraform.apply(viewed())
        assert terraform.plan() == {}
        terraform.apply(viewed("SELECT message_id FROM `test-project.raw.requests`"))
        assert [column["name"] for column in json.loads(terraform.state(VIEW)["schema"])] == ["message_id"]
        assert terraform.plan() == {}

    def test_a_schema_is_refused(self, terraform: Terraform) -> None:
        """BigQuery compares the schema of an update with the query before; without a schema it follows."""
        declared = json.dumps([{"name": name, "type": "STRING"} for name in ("message_id", "attributes")])
        assert "leave it out" in " ".join(terraform.refused(viewed(schema=declared)).split())
        terraform.apply(viewed())
        query = "SELECT message_id, attributes, data FROM `test-project.raw.requests`"
        assert "leave it out" in " ".join(terraform.refused(viewed(query, schema=declared)).split())
        terraform.apply(viewed(query))
        assert terraform.plan() == {}

    def test_columns_of_its_table_may_be_added(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(viewed())
        wider = [*COLUMNS, {"name": "extra", "type": "STRING"}]
        terraform.apply(stack(wider) | {"google_bigquery_table": tables(wider)})
        insert(cloud, message_id="1", attributes="a", extra="b")
        assert cloud.query("SELECT * FROM raw.latest") == [["1", "a"]]
        assert terraform.plan() == {}

    def test_drift_is_detected_and_repaired(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(viewed())
        cloud.query("CREATE OR REPLACE VIEW raw.latest AS SELECT message_id, attributes FROM raw.requests")
        assert terraform.plan() == {VIEW: "update"}
        terraform.apply()
        assert terraform.plan() == {}
        cloud.query("DROP VIEW raw.latest")
        assert terraform.plan() == {VIEW: "create"}
        terraform.apply()
        assert terraform.plan() == {}

    def test_protected_until_deletion_protection_is_false(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(viewed(deletion_protection=True))
        assert "Cannot delete projects/test-project/datasets/raw/tables/latest" in terraform.refused(stack())
        assert cloud.bigquery("GET", "datasets/raw/tables/latest")["type"] == "VIEW"

    def test_what_bigquery_would_refuse(self, cloud: Cloud, terraform: Terraform) -> None:
        refused = {
            "unknown_column": ({"query": "SELECT nothing FROM `test-project.raw.requests`"}, "nothing"),
            "legacy": ({"query": "SELECT 1", "use_legacy_sql": True}, "legacy SQL"),
        }
        resources = viewed()
        latest = resources["google_bigquery_table"].pop("latest")
        for name, (view, _) in refused.items():
            changes = {"table_id": name, "view": [{"use_legacy_sql": False} | view]}
            resources["google_bigquery_table"][name] = latest | changes
        message = terraform.refused(resources)
        for name, (_, reason) in refused.items():
            assert reason in message
            with pytest.raises(httpx.HTTPStatusError, match="404"):
                cloud.bigquery("GET", f"datasets/raw/tables/{name}")


class TestSubscriptions:
    def test_every_message_becomes_a_row(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(delivered())
        # Values that Google computes are known from the creation on.
        known = [terraform.state(address) for address in (SUBSCRIPTION, TABLE)]
        terraform.run("apply", "-refresh-only", "-auto-approve", "-input=false")
        assert [terraform.state(address) for address in (SUBSCRIPTION, TABLE)] == known

        published = [b"7", b'{"range": 3}', b"\xff\x00", b""]
        publish(cloud.endpoints.pubsub, *published)
        wait_for("all are rows", lambda: len(bodies(cloud)) == len(published))
        assert sorted(bodies(cloud)) == sorted(published)
        name, attributes = cloud.query("SELECT subscription_name, attributes FROM raw.requests")[0]
        assert name == f"projects/{PROJECT}/subscriptions/save"
        assert json.loads(attributes or "") == {"kind": "test"}
        assert terraform.plan() == {}

        bridge = processes.find(BRIDGE)
        assert bridge is not None
        terraform.apply(stack())
        wait_for("the bridge is gone", lambda: not bridge.alive)
        assert processes.find(BRIDGE) is None

    def test_refused_until_pubsub_may_write(self, cloud: Cloud, terraform: Terraform) -> None:
        without = delivered()
        del without["google_bigquery_table_iam_member"]
        del without["google_pubsub_subscription"]["save"]["depends_on"]
        message = terraform.refused(without)
        assert "Error 403: The caller does not have permission" in message
        assert f"the service agent of Pub/Sub may not write to {PROJECT}.raw.requests" in message
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            cloud.pubsub("GET", "subscriptions/save")
        terraform.apply(delivered())

    def test_no_message_is_lost_while_bigquery_is_down(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(delivered())
        publish(cloud.endpoints.pubsub, b"before")
        wait_for("a row", lambda: bodies(cloud) == [b"before"])
        address = cloud.endpoints.pubsub
        cloud.kill("emulator.bigquery")
        publish(address, b"meanwhile")
        cloud.up()
        wait_for("the other row", lambda: set(bodies(cloud)) == {b"before", b"meanwhile"})

    def test_a_dead_bridge_is_detected_and_repaired(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(delivered())
        cloud.kill(BRIDGE)
        publish(cloud.endpoints.pubsub, b"waits")
        assert terraform.plan() == {SUBSCRIPTION: "update"}
        terraform.apply()
        assert terraform.plan() == {}
        wait_for("the row", lambda: bodies(cloud) == [b"waits"])

    def test_a_restarted_pubsub_finds_its_bridge_again(self, cloud: Cloud, terraform: Terraform) -> None:
        terraform.apply(delivered())
        cloud.kill("emulator.pubsub")
        terraform.apply()
        publish(cloud.endpoints.pubsub, b"after")
        wait_for("the row", lambda: bodies(cloud) == [b"after"])

    def test_a_table_that_does_not_fit(self, terraform: Terraform) -> None:
        columns = [column for column in COLUMNS if column["name"] not in ("attributes", "data")]
        assert "lacks the columns attributes, data" in terraform.refused(delivered(columns))
        text = [*COLUMNS[:-1], {"name": "data", "type": "STRING"}]
        assert "column data must be BYTES" in terraform.refused(delivered(text))
