"""Managed Airflow, in a stack of its own: it takes half an hour to create and has failures of its own."""

from pathlib import Path
from typing import Final

from infra.bucket import Bucket
from infra.ci_identity import CiIdentity
from infra.composer import Composer
from infra.dataset import DatasetTable
from infra.environment import Environment
from infra.identity import Account, Principal
from infra.network import Network
from infra.providers import App, TerraformResource
from infra.stack import PLATFORM, PlatformStack
from services.contracts.names import bucket_name
from services.contracts.settings import BatchSettings, to_environment

DAGS: Final = Path(__file__).resolve().parents[1] / "services" / "batch" / "dags"


class OrchestrationStack(PlatformStack):
    """An Airflow environment whose account may do what the batch commands do."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        simulator_home: Path,
        *,
        network: Network,
        models: Bucket,
        sales: DatasetTable,
        ci: CiIdentity | None,
    ):
        super().__init__(scope, "orchestration", environment=environment, simulator_home=simulator_home)
        settings = environment.composer
        airflow = Account(
            self,
            "airflow",
            name=f"{PLATFORM}-airflow",
            project=environment.project_id,
            description="Workers of the Airflow environment",
        )
        models.grant_write(airflow)
        sales.grant_write(airflow)
        # Loads and queries are jobs, which belong to the project and not to a table.
        airflow.grant_project_role("roles/bigquery.jobUser")

        bucket = self._bucket(
            "airflow",
            keep_versions=environment.data.keep_versions,
            # Airflow writes a file for every try of every task, and removes none.
            delete_after_days=settings.keep_history_days,
            delete_below="logs/",
        )
        snapshots = self._bucket("airflow-snapshots", delete_after_days=settings.keep_snapshots_days)
        after: list[TerraformResource] = [bucket.grant_write(airflow), snapshots.grant_write(airflow)]
        if ci:
            after.append(airflow.grant_attach(Principal(self, "ci-apply", member=ci.apply.member)))
            bucket.grant_read(Principal(self, "ci-plan", member=ci.plan.member))  # the DAG files
        Composer(
            self,
            "composer",
            name=PLATFORM,
            region=environment.region,
            network=network,
            account=airflow,
            bucket=bucket,
            snapshots=snapshots,
            settings=settings,
            variables=to_environment(BatchSettings(model_bucket=models.name, sales_table=sales.name)),
            protected=environment.deletion_protection,
            after=after,
        )
        for file in sorted(DAGS.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                name = f"dags/{file.relative_to(DAGS).as_posix()}"
                bucket.upload(self, name.replace("/", "-"), name=name, file=file)

    def _bucket(
        self,
        purpose: str,
        *,
        delete_after_days: int,
        keep_versions: int | None = None,
        delete_below: str | None = None,
    ) -> Bucket:
        return Bucket(
            self,
            f"{purpose}-bucket",
            name=bucket_name(self.environment.project_id, purpose),
            region=self.environment.region,
            protected=self.environment.deletion_protection,
            soft_delete_days=self.environment.data.soft_delete_days,
            keep_versions=keep_versions,
            delete_after_days=delete_after_days,
            delete_below=delete_below,
        )
