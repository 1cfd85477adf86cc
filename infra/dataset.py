"""BigQuery datasets and tables."""

import json
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from infra.identity import Principal
from infra.providers import (
    BigqueryDataset,
    BigqueryTable,
    BigqueryTableIamMember,
    BigqueryTableTimePartitioning,
    Construct,
)
from services.contracts.schema import bigquery_schema


class Dataset(Construct):
    """A dataset in one region.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the dataset.
        dataset_id: of the dataset; unique in the project.
        region: where the rows are.
        description: what it holds.
        protected: refuse to destroy it and its tables.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        project: str,
        dataset_id: str,
        region: str,
        description: str,
        protected: bool,
    ):
        super().__init__(scope, id_)
        self.project: Final = project
        self.dataset_id: Final = dataset_id
        self.protected: Final = protected
        self.resource: Final = BigqueryDataset(
            self,
            "Default",
            dataset_id=dataset_id,
            location=region,
            description=description,
            delete_contents_on_destroy=not protected,
        )


class DatasetTable(Construct):
    """A table whose columns are those of a row type of the contracts.

    Args:
        scope: where it belongs.
        id_: its id there.
        dataset: that has the table.
        table_id: of the table; unique in the dataset.
        row: type of a row; its docstring describes the table.
        partition_by: DATE or TIMESTAMP column by which rows are divided.
        partition: how much of it a partition holds.
        cluster_by: columns by which the rows of a partition are sorted.
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
    ):
        super().__init__(scope, id_)
        self._dataset = dataset
        self._table_id = table_id
        self.name: Final = f"{dataset.project}.{dataset.dataset_id}.{table_id}"
        self._resource = BigqueryTable(
            self,
            "Default",
            dataset_id=dataset.dataset_id,
            table_id=table_id,
            description=(row.__doc__ or "").partition("\n")[0],
            schema=json.dumps(bigquery_schema(row)),
            time_partitioning=BigqueryTableTimePartitioning(type=partition, field=partition_by),
            clustering=list(cluster_by) or None,
            deletion_protection=dataset.protected,
            depends_on=[dataset.resource],
        )

    def grant_write(self, principal: Principal) -> BigqueryTableIamMember:
        """Let somebody read, add and change rows. Returns the grant, for what must wait for it."""
        return BigqueryTableIamMember(
            principal,
            f"write-{self._dataset.dataset_id}-{self._table_id}",
            dataset_id=self._dataset.dataset_id,
            table_id=self._table_id,
            role="roles/bigquery.dataEditor",
            member=principal.member,
            depends_on=principal.depends_on(self._resource),
        )
