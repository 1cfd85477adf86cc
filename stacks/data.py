"""Stored data: sales, predictions, requests, models."""

from typing import Final

from infra.cdk import App
from infra.cdk.stack import PlatformStack
from infra.environment import Environment
from infra.google.bucket import Bucket
from infra.google.dataset import Dataset, DatasetTable, LatestView
from infra.google.dataset_copy import DatasetCopy
from infra.google.identity import Account, Principal
from services.contracts import names
from services.contracts.tables import Prediction, Request, Sale, Score

_COPIES: Final = "every day 08:00"
"""When tables are copied into the second region: the pipeline begins at 05:00."""


class DataStack(PlatformStack):
    """Datasets, tables, and buckets for models, data files and intermediate files of pipelines."""

    def __init__(self, scope: App, environment: Environment):
        super().__init__(scope, "data", environment=environment)
        settings = environment.data
        sales = Dataset(
            self,
            names.SALES_DATASET,
            dataset_id=names.SALES_DATASET,
            description="Sales: the input of the model",
        )
        predictions = Dataset(
            self,
            names.PREDICTIONS_DATASET,
            dataset_id=names.PREDICTIONS_DATASET,
            description="Requests and the predictions made for them",
        )
        self.sales: Final = DatasetTable(
            self,
            "sales-table",
            dataset=sales,
            table_id=names.SALES_TABLE,
            row=Sale,
            # By month: daily partitions of a decade would hold a few kilobytes each.
            partition_by="date",
            partition="MONTH",
            cluster_by=("store_nbr", "family"),
        )
        self.predictions: Final = DatasetTable(
            self,
            "predictions-table",
            dataset=predictions,
            table_id=names.PREDICTIONS_TABLE,
            row=Prediction,
            partition_by="processed_at",
            partition="DAY",
            cluster_by=("request_id",),
            keep_days=settings.keep_predictions_days,
        )
        LatestView(
            self,
            "latest-predictions-view",
            table=self.predictions,
            view_id=names.LATEST_PREDICTIONS_VIEW,
            # Pub/Sub may deliver a request twice.
            description="Predictions of 30 days, each once: of rows of the same request, series and date the "
            "last",
            days=30,
            key=("request_id", "store_nbr", "family", "date"),
            newest_by="processed_at",
        )
        self.requests: Final = DatasetTable(
            self,
            "requests-table",
            dataset=predictions,
            table_id=names.REQUESTS_TABLE,
            row=Request,
            partition_by="publish_time",
            partition="DAY",
            keep_days=settings.keep_requests_days,
        )
        self.scores: Final = self._scores(predictions, names.SCORES_TABLE)
        self.transient_scores: Final = self._scores(predictions, names.TRANSIENT_SCORES_TABLE)
        self.staged_rows: Final = Dataset(
            self,
            "staged-rows",
            dataset_id=names.STAGING_DATASET,
            description="Rows on their way into another table",
            keep_hours=24,
        )
        if region := settings.second_region:
            account = Account(self, "copies")
            for dataset in (sales, predictions):
                DatasetCopy(
                    self,
                    f"{dataset.dataset_id}-copy",
                    source=dataset,
                    region=region,
                    account=account,
                    schedule=_COPIES,
                )
        for number, member in enumerate(settings.readers):
            reader = Principal(self, f"reader-{number}", member=member)
            for dataset in (sales, predictions):
                dataset.grant_read(reader)

        self.models: Final = Bucket(
            self,
            names.MODELS_BUCKET,
            purpose=names.MODELS_BUCKET,
            soft_delete_days=settings.soft_delete_days,
            keep_versions=settings.keep_versions,
            second_region=settings.second_region,
        )
        self.files: Final = Bucket(
            self,
            "data",
            purpose="data",
            soft_delete_days=settings.soft_delete_days,
            keep_versions=settings.keep_versions,
        )
        # Objects that are deleted by age need no recovery.
        self.staging: Final = Bucket(
            self, names.STAGING_BUCKET, purpose=names.STAGING_BUCKET, soft_delete_days=0, delete_after_days=7
        )

    def _scores(self, dataset: Dataset, table_id: str) -> DatasetTable:
        return DatasetTable(
            self,
            f"{table_id.replace('_', '-')}-table",
            dataset=dataset,
            table_id=table_id,
            row=Score,
            partition_by="run_date",
            partition="DAY",
            cluster_by=("store_nbr", "family"),
            keep_days=self.environment.data.keep_predictions_days,
        )
