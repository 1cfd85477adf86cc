"""Backups of a cluster: Backup for GKE."""

from infra.cdk import Construct, google
from infra.cdk.stack import environment_of
from infra.environment import PLATFORM
from infra.environment.cluster import BackupSettings
from infra.google.key import Key

gke_backup = google.gke_backup_backup_plan


class BackupPlan(Construct):
    """Backs up all namespaces of a cluster, every night.

    An apply restores what the stacks make. Backups are for everything else on the cluster.

    Args:
        key: encrypts the backups; Google's own key without one.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        cluster: google.container_cluster.ContainerCluster,
        settings: BackupSettings,
        key: Key | None,
    ):
        super().__init__(scope, id_)
        gke_backup.GkeBackupBackupPlan(
            self,
            "Default",
            name=PLATFORM,
            location=environment_of(self).region,
            cluster=cluster.id,
            backup_schedule=gke_backup.GkeBackupBackupPlanBackupSchedule(cron_schedule="0 4 * * *"),
            retention_policy=gke_backup.GkeBackupBackupPlanRetentionPolicy(
                backup_retain_days=settings.retain_days, backup_delete_lock_days=settings.lock_days
            ),
            backup_config=gke_backup.GkeBackupBackupPlanBackupConfig(
                all_namespaces=True,
                include_volume_data=True,
                # Secrets leave the cluster only if encrypted with our own key.
                include_secrets=key is not None,
                encryption_key=gke_backup.GkeBackupBackupPlanBackupConfigEncryptionKey(
                    gcp_kms_encryption_key=key.path
                )
                if key
                else None,
            ),
        )
