"""Managed Airflow. It has its own stack because it takes half an hour to create."""

import json
from pathlib import Path
from typing import Final, Literal

from infra.cdk import App, TerraformResource
from infra.cdk.stack import PlatformStack, configure_kubernetes
from infra.environment import PLATFORM
from infra.environment.project import ExistingCluster
from infra.google.bucket import Bucket
from infra.google.cluster import Cluster
from infra.google.composer import Composer, connection_secret
from infra.google.identity import Account, Principal
from infra.google.secret import Secret
from infra.kubernetes.namespace import Namespace
from infra.kubernetes.network_policy import AllowGoogleApis, DefaultDeny
from infra.kubernetes.pod_runner import PodRunner
from services.contracts.settings import DagSettings, to_environment
from stacks.data import DataStack
from stacks.foundation import FoundationStack
from stacks.registry import RegistryStack, image

_TEMPLATE: Final = "dataflow/job.json"

_CONNECTIONS: Final = {"mail": "smtp_default", "pagerduty": "pagerduty_default"}
"""Airflow connection of each notification channel."""

DAGS: Final = Path(__file__).resolve().parents[1] / "services" / "batch" / "dags"


class OrchestrationStack(PlatformStack):
    """An Airflow environment, and what its DAGs start: pods in their own namespace, and Dataflow jobs."""

    def __init__(
        self,
        scope: App,
        foundation: FoundationStack,
        registry: RegistryStack | None,
        cluster: Cluster | ExistingCluster,
        data: DataStack,
    ):
        environment = foundation.environment
        super().__init__(scope, "orchestration", environment=environment)
        airflow = Account(self, "airflow")
        # Steps run as pods and Dataflow jobs. Airflow itself starts them, and no stack grants it data.
        configure_kubernetes(self, host=cluster.dns_name)
        namespace = Namespace(self, "namespace", name=f"{PLATFORM}-batch", google_apis=foundation.google_apis)
        DefaultDeny(self, "default-deny", namespace=namespace)
        AllowGoogleApis(self, "google-apis", namespace=namespace)
        starter = Account(self, "starter")
        steps = self._step_runner(namespace, starter, data)
        workers = self._dataflow_workers(registry, data)
        for principal in (steps.identity, workers):
            # Loads and queries are jobs, which belong to the project.
            principal.grant_project_role("roles/bigquery.jobUser")
        bucket, snapshots = self._airflow_buckets()
        after: list[TerraformResource] = [bucket.grant_write(airflow), snapshots.grant_write(airflow)]
        if policy := foundation.deny_policy:
            after += [each.tag(policy.airflows) for each in (bucket, snapshots)]
        if ci := foundation.ci:
            bucket.grant_read(Principal(self, "ci-plan", member=ci.plan.member))  # the DAG files
        batch_image = image(self, "batch")
        self._write_files(bucket, batch_image)
        settings = DagSettings(
            model_bucket=data.models.name,
            staging_bucket=data.staging.name,
            sales_table=data.sales.name,
            scores_table=data.scores.name,
            transient_scores_table=data.transient_scores.name,
            staging_dataset=data.staged_rows.name,
            group_series=environment.batch.group_series,
            platform_environment=environment.name,
            runbook_url=environment.runbook,
            alert_channels=self._alert_channels(airflow),
            alert_email=environment.alerting.email,
            steps_run_on="google",
            steps_project=environment.project_id,
            steps_region=environment.region,
            steps_cluster=cluster.name,
            steps_namespace=namespace.name,
            steps_account=steps.name,
            steps_starter=starter.email,
            steps_image=batch_image,
            steps_runner=environment.batch.runner,
            steps_job_endpoint=environment.batch.job_endpoint,
            dataflow_template=f"gs://{bucket.name}/{_TEMPLATE}",
            dataflow_account=workers.email,
            # In full, since it may be in another project:
            # https://cloud.google.com/dataflow/docs/guides/specifying-networks
            dataflow_subnetwork=f"https://www.googleapis.com/compute/v1/{foundation.network.subnet}",
            dataflow_machine_type=environment.batch.machine_type,
            dataflow_max_workers=environment.batch.max_workers,
        )
        Composer(
            self,
            "composer",
            settings=environment.composer,
            network=foundation.network,
            account=airflow,
            bucket=bucket,
            snapshots=snapshots,
            variables=to_environment(settings),
            after=after,
        )

    def _step_runner(self, namespace: Namespace, starter: Account, data: DataStack) -> PodRunner:
        """What lets Airflow start pods in the namespace, under an account that writes the data."""
        steps = PodRunner(self, "batch", namespace=namespace, starter=starter)
        tables = (data.sales, data.scores, data.transient_scores, data.staged_rows)
        for written in (data.models, data.staging, *tables):
            written.grant_write(steps.identity)
        return steps

    def _alert_channels(self, airflow: Account) -> tuple[Literal["mail", "pagerduty"], ...]:
        """Where Airflow sends alerts; it reads the secret of each channel's connection."""
        channels = ("mail", "pagerduty") if self.environment.alerting.pagerduty else ("mail",)
        for channel in channels:
            secret = Secret(self, f"{channel}-connection", name=connection_secret(_CONNECTIONS[channel]))
            secret.grant_read(airflow)
        return channels

    def _airflow_buckets(self) -> tuple[Bucket, Bucket]:
        """Airflow's own bucket, and that of its snapshots."""
        environment = self.environment
        bucket = Bucket(
            self,
            "airflow-bucket",
            purpose="airflow",
            soft_delete_days=environment.data.soft_delete_days,
            keep_versions=environment.data.keep_versions,
            # Airflow writes a log file per attempt of each task and never deletes one.
            delete_after_days=environment.composer.keep_history_days,
            delete_below="logs/",
        )
        snapshots = Bucket(
            self,
            "airflow-snapshots-bucket",
            purpose="airflow-snapshots",
            soft_delete_days=environment.data.soft_delete_days,
            delete_after_days=environment.composer.keep_snapshots_days,
        )
        return bucket, snapshots

    def _dataflow_workers(self, registry: RegistryStack | None, data: DataStack) -> Account:
        """The account of Dataflow's workers, which Airflow starts."""
        workers = Account(self, "dataflow")
        if registry:
            registry.images.grant_read(workers)
        for read in (data.models, data.sales):
            read.grant_read(workers)
        for written in (data.staging, data.scores, data.staged_rows):
            written.grant_write(workers)
        return workers

    def _write_files(self, bucket: Bucket, batch_image: str) -> None:
        """Put the template of Dataflow jobs and the DAG files into Airflow's bucket."""
        template = {
            "image": batch_image,
            "sdkInfo": {"language": "PYTHON"},
            "metadata": {"name": "job", "description": "Scores series, or learns from groups of stores"},
        }
        bucket.write(self, "job-template", name=_TEMPLATE, content=json.dumps(template))
        for file in sorted(DAGS.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                name = f"dags/{file.relative_to(DAGS).as_posix()}"
                text = file.read_text().replace("${", "$${").replace("%{", "%%{")  # Terraform's templates
                bucket.write(self, name.replace("/", "-"), name=name, content=text)
