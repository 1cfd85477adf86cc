"""Everything that is kept: sales, predictions, requests, models."""

from pathlib import Path
from typing import Final

from infra.bucket import Bucket
from infra.dataset import Dataset, DatasetTable
from infra.environment import Environment
from infra.providers import App
from infra.stack import PlatformStack
from services.contracts.names import (
    MODELS_BUCKET,
    PREDICTIONS_DATASET,
    PREDICTIONS_TABLE,
    REQUESTS_TABLE,
    SALES_DATASET,
    SALES_TABLE,
    bucket_name,
)
from services.contracts.tables import Prediction, Request, Sale


class DataStack(PlatformStack):
    """Datasets and tables, and buckets for models, data files and a pipeline's intermediate files."""

    def __init__(self, scope: App, environment: Environment, simulator_home: Path):
        super().__init__(scope, "data", environment=environment, simulator_home=simulator_home)
        sales = self._dataset(SALES_DATASET, "Sales: the input of the model")
        predictions = self._dataset(PREDICTIONS_DATASET, "Requests and the predictions made for them")
        self.sales: Final = DatasetTable(
            self,
            "sales-table",
            dataset=sales,
            table_id=SALES_TABLE,
            row=Sale,
            # By month, because a partition per day of a decade would hold a few kilobytes each.
            partition_by="date",
            partition="MONTH",
            cluster_by=("store_nbr", "family"),
        )
        self.predictions: Final = DatasetTable(
            self,
            "predictions-table",
            dataset=predictions,
            table_id=PREDICTIONS_TABLE,
            row=Prediction,
            partition_by="processed_at",
            partition="DAY",
            cluster_by=("request_id",),
        )
        self.requests: Final = DatasetTable(
            self,
            "requests-table",
            dataset=predictions,
            table_id=REQUESTS_TABLE,
            row=Request,
            partition_by="publish_time",
            partition="DAY",
        )
        self.models: Final = self._bucket(MODELS_BUCKET, keep_versions=10)
        self.files: Final = self._bucket("data", keep_versions=3)
        self.staging: Final = self._bucket("staging", delete_after_days=7)

    def _dataset(self, dataset_id: str, description: str) -> Dataset:
        return Dataset(
            self,
            dataset_id,
            project=self.environment.project_id,
            dataset_id=dataset_id,
            region=self.environment.region,
            description=description,
            protected=self.environment.deletion_protection,
        )

    def _bucket(
        self, purpose: str, *, keep_versions: int | None = None, delete_after_days: int | None = None
    ) -> Bucket:
        return Bucket(
            self,
            purpose,
            name=bucket_name(self.environment.project_id, purpose),
            region=self.environment.region,
            protected=self.environment.deletion_protection,
            keep_versions=keep_versions,
            delete_after_days=delete_after_days,
        )
