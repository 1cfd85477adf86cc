"""Managed Airflow: Cloud Composer 3."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.environment.orchestration import AIRFLOW_VERSION, ComposerSettings
from infra.google.bucket import Bucket
from infra.google.identity import Account, propagated
from infra.google.network import Network

_CONNECTIONS_PREFIX: Final = "airflow-connections"

_AIRFLOW_SETTINGS: Final = {
    # Maintenance interrupts tasks and spot nodes vanish: retry before an alert.
    "core-default_task_retries": "2",
    # Runs of a DAG do not overlap: two would train on the same table.
    "core-max_active_runs_per_dag": "1",
    # Connections come from Secret Manager first, then from Airflow's own database.
    # https://cloud.google.com/composer/docs/composer-3/configure-secret-manager
    "secrets-backend": "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend",
    "secrets-backend_kwargs": json.dumps(
        # Variables and settings do not: each lookup would cost a call and a refusal in the log.
        {"connections_prefix": _CONNECTIONS_PREFIX, "variables_prefix": None, "config_prefix": None}
    ),
}


def connection_secret(connection: str) -> str:
    """Name of the secret that holds an Airflow connection, as URI or JSON."""
    return f"{_CONNECTIONS_PREFIX}-{connection}"


class Composer(Construct):
    """An Airflow environment inside the network, with no public address.

    Args:
        account: service account of its workers, which has `roles/composer.worker` on the project.
        bucket: bucket of DAG files, logs and plugins; one made by Composer would have a random name.
        snapshots: bucket of daily snapshots of the environment.
        variables: environment variables of all tasks.
        after: grants that its account needs from the start.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: ComposerSettings,
        network: Network,
        account: Account,
        bucket: Bucket,
        snapshots: Bucket,
        variables: Mapping[str, str],
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        disk = {"storage_gb": 1}  # of processes that keep nothing
        google.composer_environment.ComposerEnvironment(
            self,
            "Default",
            name=place.platform,
            region=place.region,
            storage_config={"bucket": bucket.name},
            config={
                "environment_size": f"ENVIRONMENT_SIZE_{settings.size.upper()}",
                "resilience_mode": "HIGH_RESILIENCE" if settings.high_resilience else "STANDARD_RESILIENCE",
                # Airflow reaches the internet only through the NAT of the network.
                "enable_private_environment": True,
                # Without extra packages, builds need nothing from PyPI.
                "enable_private_builds_only": not settings.packages,
                "node_config": {
                    "network": network.path,
                    "subnetwork": network.subnet,
                    "service_account": account.email,
                },
                "software_config": {
                    # The newest build: Google withdraws old ones, and the provider compares the version of
                    # Airflow alone.
                    "image_version": f"composer-3-airflow-{AIRFLOW_VERSION}",
                    "airflow_config_overrides": _AIRFLOW_SETTINGS,
                    "pypi_packages": dict(settings.packages) or None,
                    "env_variables": dict(variables),
                    # There are no plugins; a faulty one would take the web server down.
                    "web_server_plugins_mode": "DISABLED",
                },
                "workloads_config": {
                    "scheduler": dict(settings.scheduler) | disk,
                    "dag_processor": dict(settings.dag_processor) | disk,
                    "triggerer": {"cpu": 0.5, "memory_gb": 1, **dict(settings.triggerer)},
                    "web_server": dict(settings.web_server) | disk,
                    "worker": dict(settings.worker),
                },
                # Only the times of day count. Composer wants 12 hours a week; interrupted tasks are retried.
                "maintenance_window": {
                    "start_time": "2024-01-01T00:00:00Z",
                    "end_time": "2024-01-01T04:00:00Z",
                    "recurrence": "FREQ=WEEKLY;BYDAY=FR,SA,SU",
                },
                "recovery_config": {
                    "scheduled_snapshots_config": {
                        "enabled": True,
                        "snapshot_location": f"gs://{snapshots.name}/{place.platform}",
                        "snapshot_creation_schedule": "0 5 * * *",
                        "time_zone": "UTC",
                    }
                },
                # A growing database slows the scheduler down, and above 20 GB no snapshot can be made.
                "data_retention_config": {
                    "airflow_metadata_retention_config": [
                        {
                            "retention_mode": "RETENTION_MODE_ENABLED",
                            "retention_days": settings.keep_history_days,
                        }
                    ]
                },
                "web_server_network_access_control": {
                    "allowed_ip_range": [{"value": str(each)} for each in settings.web_access]
                }
                if settings.web_access
                else None,
            },
            # If Terraform gave up earlier, its state would not contain the environment.
            timeouts={"create": "150m", "update": "150m", "delete": "60m"},
            # Unlike clusters and tables, Composer has no deletion protection of its own.
            lifecycle={"prevent_destroy": place.protected},
            depends_on=[propagated(self, after)],
        )
