"""Managed Airflow. It has its own stack because it takes half an hour to create."""

import json
from pathlib import Path
from typing import Final

from infra.cdk import App, TerraformResource
from infra.cdk.providers import configure_kubernetes
from infra.cdk.stack import PlatformStack
from infra.cdk.waivers import waive
from infra.environment import PLATFORM, Environment
from infra.google.artifact_registry import ImageRepository
from infra.google.bucket import Bucket
from infra.google.ci_identity import CiIdentity
from infra.google.cluster import Cluster
from infra.google.composer import Composer, connection_secret
from infra.google.dataset import Dataset, DatasetTable
from infra.google.identity import Account, Principal
from infra.google.images import image
from infra.google.network import Network
from infra.google.secret import Secret
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import DefaultDeny
from infra.kubernetes.pod_runner import PodRunner
from services.contracts.settings import DagSettings, to_environment

_TEMPLATE: Final = "dataflow/score.json"

_CONNECTIONS: Final = {"mail": "smtp_default", "pagerduty": "pagerduty_default"}
"""Airflow connection of each notification channel."""

DAGS: Final = Path(__file__).resolve().parents[1] / "services" / "batch" / "dags"


class OrchestrationStack(PlatformStack):
    """An Airflow environment, and what its DAGs start: pods in their own namespace, and Dataflow jobs."""

    def __init__(
        self,
        scope: App,
        environment: Environment,
        *,
        network: Network,
        cluster: Cluster,
        images: ImageRepository,
        models: Bucket,
        staging: Bucket,
        sales: DatasetTable,
        scores: DatasetTable,
        transient_scores: DatasetTable,
        staged_rows: Dataset,
        ci: CiIdentity | None,
    ):
        super().__init__(scope, "orchestration", environment=environment)
        settings = environment.composer
        airflow = Account(
            self,
            "airflow",
            environment=environment,
            name=f"{PLATFORM}-airflow",
            description="Workers of the Airflow environment",
        )
        # Steps run as pods and Dataflow jobs. Airflow itself starts them and has no access to data.
        configure_kubernetes(self, host=cluster.dns_name, simulated=environment.simulated)
        namespace = Namespace(self, "namespace", name=f"{PLATFORM}-batch", environment=environment)
        DefaultDeny(self, "default-deny", namespace=namespace)
        steps = PodRunner(self, "batch", namespace=namespace, starter=airflow)
        # The smallest role that may connect by the cluster's DNS name (container.clusters.connect). It reads
        # no Secrets; what Airflow may change in the cluster is defined by the role in the namespace.
        airflow.grant_project_role("roles/container.viewer")
        for bucket in (models, staging):
            bucket.grant_write(steps.identity)
        for table in (sales, scores, transient_scores, staged_rows):
            table.grant_write(steps.identity)

        workers = Account(
            self,
            "dataflow",
            environment=environment,
            name=f"{PLATFORM}-dataflow",
            description="Workers of Dataflow",
        )
        workers.grant_attach(airflow)
        developer = airflow.grant_project_role("roles/dataflow.developer")
        waive(developer, {"CKV_GCP_49": "Google offers this role on projects only"})
        workers.grant_project_role("roles/dataflow.worker")
        images.grant_read(workers)
        models.grant_read(workers)
        staging.grant_write(workers)
        sales.grant_read(workers)
        scores.grant_write(workers)
        staged_rows.grant_write(workers)
        for principal in (steps.identity, workers):
            # Loads and queries are jobs, which belong to the project.
            principal.grant_project_role("roles/bigquery.jobUser")

        bucket = Bucket(
            self,
            "airflow-bucket",
            environment=environment,
            purpose="airflow",
            soft_delete_days=environment.data.soft_delete_days,
            keep_versions=environment.data.keep_versions,
            # Airflow writes a log file per attempt of each task and never deletes one.
            delete_after_days=settings.keep_history_days,
            delete_below="logs/",
        )
        snapshots = Bucket(
            self,
            "airflow-snapshots-bucket",
            environment=environment,
            purpose="airflow-snapshots",
            soft_delete_days=environment.data.soft_delete_days,
            delete_after_days=settings.keep_snapshots_days,
        )
        after: list[TerraformResource] = [bucket.grant_write(airflow), snapshots.grant_write(airflow)]
        if ci:
            after.append(airflow.grant_attach(Principal(self, "ci-apply", member=ci.apply.member)))
            bucket.grant_read(Principal(self, "ci-plan", member=ci.plan.member))  # the DAG files
        batch_image = image(self, environment, service="batch")
        template = {
            "image": batch_image,
            "sdkInfo": {"language": "PYTHON"},
            "metadata": {"name": "score", "description": "Scores every series for the days to come"},
        }
        bucket.write(self, "score-template", name=_TEMPLATE, content=json.dumps(template))
        alerting = environment.alerting
        channels = ("mail", "pagerduty") if alerting.pagerduty else ("mail",)
        for channel in channels:
            secret = Secret(
                self,
                f"{channel}-connection",
                environment=environment,
                name=connection_secret(_CONNECTIONS[channel]),
            )
            secret.grant_read(airflow)
        variables = DagSettings(
            model_bucket=models.name,
            staging_bucket=staging.name,
            sales_table=sales.name,
            scores_table=scores.name,
            transient_scores_table=transient_scores.name,
            staging_dataset=staged_rows.name,
            platform_environment=environment.name,
            runbook_url=alerting.runbook,
            alert_channels=channels,
            alert_email=alerting.email,
            steps_run_on="google",
            steps_project=environment.project_id,
            steps_region=environment.region,
            steps_cluster=cluster.name,
            steps_namespace=namespace.name,
            steps_account=steps.name,
            steps_image=batch_image,
            dataflow_template=f"gs://{bucket.name}/{_TEMPLATE}",
            dataflow_account=workers.email,
            dataflow_subnetwork=network.subnet.partition("/")[2].partition("/")[2],
            dataflow_machine_type=environment.batch.machine_type,
            dataflow_max_workers=environment.batch.max_workers,
        )
        Composer(
            self,
            "composer",
            environment=environment,
            network=network,
            account=airflow,
            bucket=bucket,
            snapshots=snapshots,
            variables=to_environment(variables),
            after=after,
        )
        for file in sorted(DAGS.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                name = f"dags/{file.relative_to(DAGS).as_posix()}"
                bucket.upload(self, name.replace("/", "-"), name=name, file=file)
