"""Backups of a cluster: Backup for GKE."""

from infra.cdk import Construct, google
from infra.environment.cluster import BackupSettings
from infra.google.key import Key

gke_backup = google.gke_backup_backup_plan


class BackupPlan(Construct):
    """Backs up all namespaces of a cluster on a schedule.

    What the stacks make comes back with an apply; this is for what others put on the cluster.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the plan.
        region: where backups are kept.
        cluster: whose.
        settings: when, and for how long.
        key: with which they are encrypted; Google's own without one.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        region: str,
        cluster: google.container_cluster.ContainerCluster,
        settings: BackupSettings,
        key: Key | None,
    ):
        super().__init__(scope, id_)
        gke_backup.GkeBackupBackupPlan(
            self,
            "Default",
            name=name,
            location=region,
            cluster=cluster.id,
            backup_schedule=gke_backup.GkeBackupBackupPlanBackupSchedule(cron_schedule=settings.schedule),
            retention_policy=gke_backup.GkeBackupBackupPlanRetentionPolicy(
                backup_retain_days=settings.retain_days, backup_delete_lock_days=settings.lock_days
            ),
            backup_config=gke_backup.GkeBackupBackupPlanBackupConfig(
                all_namespaces=True,
                include_volume_data=True,
                include_secrets=key is not None,  # Secrets leave the cluster under our own key only
                encryption_key=gke_backup.GkeBackupBackupPlanBackupConfigEncryptionKey(
                    gcp_kms_encryption_key=key.path
                )
                if key
                else None,
            ),
        )
