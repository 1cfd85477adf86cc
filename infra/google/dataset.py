"""BigQuery datasets, tables and views."""

import json
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.google.identity import Principal
from services.contracts.released import check, released_schemas
from services.contracts.schema import bigquery_schema

_KEYS: Final = "sums of sales, nobody's personal data: Google's keys do"


class Dataset(Construct):
    """A dataset in one region.

    Args:
        keep_hours: after which a table goes, so that nothing protects it; never if absent.
        region: instead of the region of everything else.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        dataset_id: str,
        description: str,
        keep_hours: int | None = None,
        region: str | None = None,
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        self.dataset_id: Final = dataset_id
        self.name: Final = f"{place.project_id}.{dataset_id}"
        self.protected: Final = place.protected and keep_hours is None
        self.resource: Final = google.bigquery_dataset.BigqueryDataset(
            self,
            "Default",
            dataset_id=dataset_id,
            location=region or place.region,
            description=description,
            delete_contents_on_destroy=not self.protected,
            default_table_expiration_ms=keep_hours and keep_hours * 3600 * 1000,
        )
        waive(self.resource, {"CKV_GCP_81": _KEYS})

    def grant_read(self, principal: Principal) -> TerraformResource:
        """Let a principal read every table and view. Returns the grant."""
        return self.grant(principal, "read", "roles/bigquery.dataViewer")

    def grant_write(self, principal: Principal) -> None:
        """Let a principal create tables, and read and change every one."""
        self.grant(principal, "write", "roles/bigquery.dataEditor")

    def grant(self, principal: Principal, verb: str, role: str) -> TerraformResource:
        """Grant a principal a role, for what the verb says. Returns the grant."""
        return principal.grant(
            google.bigquery_dataset_iam_member.BigqueryDatasetIamMember,
            f"{verb}-{self.dataset_id}",
            role,
            self.resource,
            dataset_id=self.dataset_id,
            # Of all resources only this one takes members apart, and knows no `principal:`.
            member=principal.member.replace("principal:", "iamMember:principal:"),
        )


class DatasetTable(Construct):
    """A table whose columns are those of a row type of the contracts.

    Args:
        row: type of a row; its docstring describes the table.
        partition_by: DATE or TIMESTAMP column by which rows are divided.
        cluster_by: columns by which the rows of a partition are sorted.
        keep_days: days after the partition's own at which a partition is deleted; never if absent.

    Raises:
        IncompatibleSchemaError: Google would replace the table of the last release.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        dataset: Dataset,
        table_id: str,
        row: type[msgspec.Struct],
        partition_by: str,
        partition: Literal["DAY", "MONTH"],
        cluster_by: Sequence[str] = (),
        keep_days: int | None = None,
    ):
        super().__init__(scope, id_)
        check(f"{dataset.dataset_id}.{table_id}", row, released_schemas().tables)
        self.dataset: Final = dataset
        self.row: Final = row
        self._table_id = table_id
        self.name: Final = f"{dataset.name}.{table_id}"
        self.resource: Final = google.bigquery_table.BigqueryTable(
            self,
            "Default",
            dataset_id=dataset.dataset_id,
            table_id=table_id,
            description=(row.__doc__ or "").partition("\n")[0],
            schema=json.dumps(bigquery_schema(row)),
            time_partitioning={
                "type": partition,
                "field": partition_by,
                "expiration_ms": keep_days * 24 * 3600 * 1000 if keep_days else None,
            },
            clustering=list(cluster_by) or None,
            # A query that forgets it would read, and bill, all days.
            require_partition_filter=True,
            deletion_protection=dataset.protected,
            depends_on=[dataset.resource],
        )
        waive(self.resource, {"CKV_GCP_80": _KEYS})

    def grant_read(self, principal: Principal) -> TerraformResource:
        """Let a principal read rows. Returns the grant."""
        return self._grant(principal, "read", "roles/bigquery.dataViewer")

    def grant_write(self, principal: Principal) -> TerraformResource:
        """Let a principal read, add and change rows. Returns the grant."""
        return self._grant(principal, "write", "roles/bigquery.dataEditor")

    def _grant(self, principal: Principal, verb: str, role: str) -> TerraformResource:
        return principal.grant(
            google.bigquery_table_iam_member.BigqueryTableIamMember,
            f"{verb}-{self.dataset.dataset_id}-{self._table_id}",
            role,
            self.resource,
            dataset_id=self.dataset.dataset_id,
            table_id=self._table_id,
        )


class LatestView(Construct):
    """A view of a table that has one row of those with the same key: the newest.

    Who may read the dataset may read it; the view is in its table's dataset, so no reader needs more.

    Args:
        newest_by: TIMESTAMP column that orders them, and by which the table is partitioned.
        days: age of the oldest rows; a query of the view reads no older partition.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        table: DatasetTable,
        view_id: str,
        description: str,
        key: Sequence[str],
        newest_by: str,
        days: int,
    ):
        super().__init__(scope, id_)
        # By name: a view keeps the columns it was created with, so a new one must change its query. It has no
        # schema of ours: BigQuery refuses one with a column that the present query lacks.
        names = ", ".join(f"`{column['name']}`" for column in bigquery_schema(table.row))
        partition = ", ".join(f"`{column}`" for column in key)
        view = google.bigquery_table.BigqueryTable(
            self,
            "Default",
            dataset_id=table.dataset.dataset_id,
            table_id=view_id,
            description=description,
            view={
                "query": f"SELECT {names} FROM `{table.name}` "  # noqa: S608 -- names of the contracts
                f"WHERE `{newest_by}` >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {days} DAY) "
                f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY `{newest_by}` DESC) = 1",
                "use_legacy_sql": False,  # the default is true
            },
            deletion_protection=False,  # it has no rows of its own, and is back in a second
            depends_on=[table.resource],
        )
        waive(view, {"CKV_GCP_80": "a view has no rows", "CKV_GCP_121": "a view has no rows"})
