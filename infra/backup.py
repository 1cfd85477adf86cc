"""Backups of a cluster: Backup for GKE."""

from infra.key import Key
from infra.providers import (
    Construct,
    ContainerCluster,
    GkeBackupBackupPlan,
    GkeBackupBackupPlanBackupConfig,
    GkeBackupBackupPlanBackupConfigEncryptionKey,
    GkeBackupBackupPlanBackupSchedule,
    GkeBackupBackupPlanRetentionPolicy,
)
from infra.sections import BackupSettings


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
        cluster: ContainerCluster,
        settings: BackupSettings,
        key: Key | None,
    ):
        super().__init__(scope, id_)
        GkeBackupBackupPlan(
            self,
            "Default",
            name=name,
            location=region,
            cluster=cluster.id,
            backup_schedule=GkeBackupBackupPlanBackupSchedule(cron_schedule=settings.schedule),
            retention_policy=GkeBackupBackupPlanRetentionPolicy(
                backup_retain_days=settings.retain_days, backup_delete_lock_days=settings.lock_days
            ),
            backup_config=GkeBackupBackupPlanBackupConfig(
                all_namespaces=True,
                include_volume_data=True,
                include_secrets=key is not None,  # Secrets leave the cluster under our own key only
                encryption_key=GkeBackupBackupPlanBackupConfigEncryptionKey(gcp_kms_encryption_key=key.path)
                if key
                else None,
            ),
        )
