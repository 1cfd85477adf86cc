"""Backups of a cluster: Backup for GKE."""

from infra.cdk import Construct, google
from infra.cdk.stack import place_of
from infra.environment.cluster import BackupSettings
from infra.google.key import Key


class BackupPlan(Construct):
    """Backs up all namespaces of a cluster every night, and says how a backup is restored.

    An apply restores what the stacks make. Backups are for everything else on the cluster.
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
        place = place_of(self)
        plan = google.gke_backup_backup_plan.GkeBackupBackupPlan(
            self,
            "Default",
            name=place.platform,
            location=place.region,
            cluster=cluster.id,
            backup_schedule={"cron_schedule": "0 4 * * *"},
            retention_policy={
                "backup_retain_days": settings.retain_days,
                "backup_delete_lock_days": settings.lock_days,
            },
            backup_config={
                "all_namespaces": True,
                "include_volume_data": True,
                # Secrets leave the cluster only if encrypted with our own key.
                "include_secrets": key is not None,
                "encryption_key": {"gcp_kms_encryption_key": key.path} if key else None,
            },
        )
        google.gke_backup_restore_plan.GkeBackupRestorePlan(
            self,
            "restore",
            name=place.platform,
            location=place.region,
            backup_plan=plan.id,
            cluster=cluster.id,
            restore_config={
                "all_namespaces": True,
                # What is there stays: what an apply has made since is newer than the backup.
                "namespaced_resource_restore_mode": "MERGE_SKIP_ON_CONFLICT",
                "volume_data_restore_policy": "RESTORE_VOLUME_DATA_FROM_BACKUP",
                "cluster_resource_restore_scope": {"no_group_kinds": True},  # GKE and the stacks make them
                "cluster_resource_conflict_policy": "USE_EXISTING_VERSION",
            },
        )
