"""The provider bindings: the classes of cdktf and its providers that the platform uses, and their set-up.

The only module that imports them, for two reasons: it does so by the fast path of `bindings.py`, which must
come before anything else, and it is the one place to change to move to the cdktn fork, whose class names are
the same.
"""

# What is imported here is for others.
# ruff: noqa: F401
# pyright: reportUnusedImport=false

from collections.abc import Mapping

from infra.bindings import fast_imports

with fast_imports("cdktf_cdktf_provider_google", "cdktf_cdktf_provider_kubernetes"):
    from cdktf import (
        App,
        AssetType,
        GcsBackend,
        LocalBackend,
        TerraformAsset,
        TerraformOutput,
        TerraformResource,
        TerraformResourceLifecycle,
        TerraformStack,
        TerraformVariable,
        TerraformVariableValidationConfig,
    )
    from cdktf_cdktf_provider_google.artifact_registry_repository import (
        ArtifactRegistryRepository,
        ArtifactRegistryRepositoryCleanupPolicies,
        ArtifactRegistryRepositoryCleanupPoliciesCondition,
        ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions,
        ArtifactRegistryRepositoryDockerConfig,
        ArtifactRegistryRepositoryVulnerabilityScanningConfig,
    )
    from cdktf_cdktf_provider_google.artifact_registry_repository_iam_member import (
        ArtifactRegistryRepositoryIamMember,
    )
    from cdktf_cdktf_provider_google.bigquery_dataset import BigqueryDataset
    from cdktf_cdktf_provider_google.bigquery_dataset_iam_member import BigqueryDatasetIamMember
    from cdktf_cdktf_provider_google.bigquery_table import (
        BigqueryTable,
        BigqueryTableTimePartitioning,
        BigqueryTableView,
    )
    from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
    from cdktf_cdktf_provider_google.billing_budget import (
        BillingBudget,
        BillingBudgetAllUpdatesRule,
        BillingBudgetAmount,
        BillingBudgetAmountSpecifiedAmount,
        BillingBudgetBudgetFilter,
        BillingBudgetThresholdRules,
    )
    from cdktf_cdktf_provider_google.binary_authorization_policy import (
        BinaryAuthorizationPolicy,
        BinaryAuthorizationPolicyAdmissionWhitelistPatterns,
        BinaryAuthorizationPolicyDefaultAdmissionRule,
    )
    from cdktf_cdktf_provider_google.certificate_manager_certificate import (
        CertificateManagerCertificate,
        CertificateManagerCertificateManaged,
    )
    from cdktf_cdktf_provider_google.certificate_manager_dns_authorization import (
        CertificateManagerDnsAuthorization,
    )
    from cdktf_cdktf_provider_google.composer_environment import (
        ComposerEnvironment,
        ComposerEnvironmentConfigA,
        ComposerEnvironmentConfigDataRetentionConfig,
        ComposerEnvironmentConfigDataRetentionConfigAirflowMetadataRetentionConfig,
        ComposerEnvironmentConfigMaintenanceWindow,
        ComposerEnvironmentConfigNodeConfig,
        ComposerEnvironmentConfigRecoveryConfig,
        ComposerEnvironmentConfigRecoveryConfigScheduledSnapshotsConfig,
        ComposerEnvironmentConfigSoftwareConfig,
        ComposerEnvironmentConfigWebServerNetworkAccessControl,
        ComposerEnvironmentConfigWebServerNetworkAccessControlAllowedIpRange,
        ComposerEnvironmentConfigWorkloadsConfig,
        ComposerEnvironmentConfigWorkloadsConfigDagProcessor,
        ComposerEnvironmentConfigWorkloadsConfigScheduler,
        ComposerEnvironmentConfigWorkloadsConfigTriggerer,
        ComposerEnvironmentConfigWorkloadsConfigWebServer,
        ComposerEnvironmentConfigWorkloadsConfigWorker,
        ComposerEnvironmentStorageConfig,
        ComposerEnvironmentTimeouts,
    )
    from cdktf_cdktf_provider_google.compute_address import ComputeAddress
    from cdktf_cdktf_provider_google.compute_network import ComputeNetwork
    from cdktf_cdktf_provider_google.compute_region_security_policy import (
        ComputeRegionSecurityPolicy,
        ComputeRegionSecurityPolicyRules,
        ComputeRegionSecurityPolicyRulesMatch,
        ComputeRegionSecurityPolicyRulesMatchConfig,
        ComputeRegionSecurityPolicyRulesMatchExpr,
        ComputeRegionSecurityPolicyRulesRateLimitOptions,
        ComputeRegionSecurityPolicyRulesRateLimitOptionsRateLimitThreshold,
    )
    from cdktf_cdktf_provider_google.compute_region_ssl_policy import ComputeRegionSslPolicy
    from cdktf_cdktf_provider_google.compute_router import ComputeRouter
    from cdktf_cdktf_provider_google.compute_router_nat import ComputeRouterNat, ComputeRouterNatLogConfig
    from cdktf_cdktf_provider_google.compute_subnetwork import (
        ComputeSubnetwork,
        ComputeSubnetworkLogConfig,
        ComputeSubnetworkSecondaryIpRange,
    )
    from cdktf_cdktf_provider_google.container_cluster import (
        ContainerCluster,
        ContainerClusterAddonsConfig,
        ContainerClusterAddonsConfigGkeBackupAgentConfig,
        ContainerClusterAnonymousAuthenticationConfig,
        ContainerClusterBinaryAuthorization,
        ContainerClusterClusterAutoscaling,
        ContainerClusterClusterAutoscalingAutoProvisioningDefaults,
        ContainerClusterClusterAutoscalingAutoProvisioningDefaultsManagement,
        ContainerClusterClusterAutoscalingAutoProvisioningDefaultsShieldedInstanceConfig,
        ContainerClusterClusterAutoscalingAutoProvisioningDefaultsUpgradeSettings,
        ContainerClusterClusterAutoscalingResourceLimits,
        ContainerClusterControlPlaneEndpointsConfig,
        ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig,
        ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig,
        ContainerClusterCostManagementConfig,
        ContainerClusterDatabaseEncryption,
        ContainerClusterGatewayApiConfig,
        ContainerClusterIpAllocationPolicy,
        ContainerClusterLoggingConfig,
        ContainerClusterMaintenancePolicy,
        ContainerClusterMaintenancePolicyMaintenanceExclusion,
        ContainerClusterMaintenancePolicyMaintenanceExclusionExclusionOptions,
        ContainerClusterMaintenancePolicyRecurringWindow,
        ContainerClusterMonitoringConfig,
        ContainerClusterMonitoringConfigAdvancedDatapathObservabilityConfig,
        ContainerClusterMonitoringConfigManagedPrometheus,
        ContainerClusterNodeConfig,
        ContainerClusterNodeConfigShieldedInstanceConfig,
        ContainerClusterNodeConfigWorkloadMetadataConfig,
        ContainerClusterNodePoolAutoConfig,
        ContainerClusterNodePoolAutoConfigNodeKubeletConfig,
        ContainerClusterPrivateClusterConfig,
        ContainerClusterRbacBindingConfig,
        ContainerClusterReleaseChannel,
        ContainerClusterSecurityPostureConfig,
        ContainerClusterVerticalPodAutoscaling,
        ContainerClusterWorkloadIdentityConfig,
    )
    from cdktf_cdktf_provider_google.container_node_pool import (
        ContainerNodePool,
        ContainerNodePoolAutoscaling,
        ContainerNodePoolManagement,
        ContainerNodePoolNodeConfig,
        ContainerNodePoolNodeConfigKubeletConfig,
        ContainerNodePoolNodeConfigShieldedInstanceConfig,
        ContainerNodePoolNodeConfigTaint,
        ContainerNodePoolNodeConfigWorkloadMetadataConfig,
        ContainerNodePoolUpgradeSettings,
        ContainerNodePoolUpgradeSettingsBlueGreenSettings,
        ContainerNodePoolUpgradeSettingsBlueGreenSettingsStandardRolloutPolicy,
    )
    from cdktf_cdktf_provider_google.dns_record_set import DnsRecordSet
    from cdktf_cdktf_provider_google.gke_backup_backup_plan import (
        GkeBackupBackupPlan,
        GkeBackupBackupPlanBackupConfig,
        GkeBackupBackupPlanBackupConfigEncryptionKey,
        GkeBackupBackupPlanBackupSchedule,
        GkeBackupBackupPlanRetentionPolicy,
    )
    from cdktf_cdktf_provider_google.iam_workload_identity_pool import IamWorkloadIdentityPool
    from cdktf_cdktf_provider_google.iam_workload_identity_pool_provider import (
        IamWorkloadIdentityPoolProvider,
        IamWorkloadIdentityPoolProviderOidc,
    )
    from cdktf_cdktf_provider_google.iap_web_iam_member import IapWebIamMember, IapWebIamMemberCondition
    from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey
    from cdktf_cdktf_provider_google.kms_crypto_key_iam_member import KmsCryptoKeyIamMember
    from cdktf_cdktf_provider_google.kms_key_ring import KmsKeyRing
    from cdktf_cdktf_provider_google.kms_key_ring_iam_member import KmsKeyRingIamMember
    from cdktf_cdktf_provider_google.monitoring_alert_policy import (
        MonitoringAlertPolicy,
        MonitoringAlertPolicyAlertStrategy,
        MonitoringAlertPolicyAlertStrategyNotificationRateLimit,
        MonitoringAlertPolicyConditions,
        MonitoringAlertPolicyConditionsConditionMatchedLog,
        MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage,
        MonitoringAlertPolicyConditionsConditionThreshold,
        MonitoringAlertPolicyConditionsConditionThresholdAggregations,
        MonitoringAlertPolicyDocumentation,
    )
    from cdktf_cdktf_provider_google.monitoring_custom_service import MonitoringCustomService
    from cdktf_cdktf_provider_google.monitoring_dashboard import MonitoringDashboard
    from cdktf_cdktf_provider_google.monitoring_notification_channel import (
        MonitoringNotificationChannel,
        MonitoringNotificationChannelSensitiveLabels,
    )
    from cdktf_cdktf_provider_google.monitoring_slo import (
        MonitoringSlo,
        MonitoringSloRequestBasedSli,
        MonitoringSloRequestBasedSliDistributionCut,
        MonitoringSloRequestBasedSliDistributionCutRange,
        MonitoringSloRequestBasedSliGoodTotalRatio,
    )
    from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
    from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember, ProjectIamMemberCondition
    from cdktf_cdktf_provider_google.project_service import ProjectService
    from cdktf_cdktf_provider_google.provider import GoogleProvider
    from cdktf_cdktf_provider_google.pubsub_schema import PubsubSchema
    from cdktf_cdktf_provider_google.pubsub_subscription import (
        PubsubSubscription,
        PubsubSubscriptionBigqueryConfig,
        PubsubSubscriptionDeadLetterPolicy,
        PubsubSubscriptionExpirationPolicy,
        PubsubSubscriptionPushConfig,
        PubsubSubscriptionPushConfigOidcToken,
        PubsubSubscriptionRetryPolicy,
    )
    from cdktf_cdktf_provider_google.pubsub_subscription_iam_member import PubsubSubscriptionIamMember
    from cdktf_cdktf_provider_google.pubsub_topic import (
        PubsubTopic,
        PubsubTopicMessageStoragePolicy,
        PubsubTopicSchemaSettings,
    )
    from cdktf_cdktf_provider_google.pubsub_topic_iam_member import PubsubTopicIamMember
    from cdktf_cdktf_provider_google.secret_manager_secret import (
        SecretManagerSecret,
        SecretManagerSecretReplication,
        SecretManagerSecretReplicationUserManaged,
        SecretManagerSecretReplicationUserManagedReplicas,
    )
    from cdktf_cdktf_provider_google.secret_manager_secret_iam_member import SecretManagerSecretIamMember
    from cdktf_cdktf_provider_google.service_account import ServiceAccount
    from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
    from cdktf_cdktf_provider_google.storage_bucket import (
        StorageBucket,
        StorageBucketLifecycleRule,
        StorageBucketLifecycleRuleAction,
        StorageBucketLifecycleRuleCondition,
        StorageBucketSoftDeletePolicy,
        StorageBucketVersioning,
    )
    from cdktf_cdktf_provider_google.storage_bucket_iam_member import StorageBucketIamMember
    from cdktf_cdktf_provider_google.storage_bucket_object import StorageBucketObject
    from cdktf_cdktf_provider_kubernetes.deployment_v1 import (
        DeploymentV1,
        DeploymentV1Metadata,
        DeploymentV1Spec,
        DeploymentV1SpecSelector,
        DeploymentV1SpecStrategy,
        DeploymentV1SpecStrategyRollingUpdate,
        DeploymentV1SpecTemplate,
        DeploymentV1SpecTemplateMetadata,
        DeploymentV1SpecTemplateSpec,
        DeploymentV1SpecTemplateSpecAffinity,
        DeploymentV1SpecTemplateSpecAffinityNodeAffinity,
        DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecution,
        DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreference,
        DeploymentV1SpecTemplateSpecAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionPreferenceMatchExpressions,
        DeploymentV1SpecTemplateSpecContainer,
        DeploymentV1SpecTemplateSpecContainerEnv,
        DeploymentV1SpecTemplateSpecContainerLifecycle,
        DeploymentV1SpecTemplateSpecContainerLifecyclePreStop,
        DeploymentV1SpecTemplateSpecContainerLifecyclePreStopExec,
        DeploymentV1SpecTemplateSpecContainerLivenessProbe,
        DeploymentV1SpecTemplateSpecContainerLivenessProbeHttpGet,
        DeploymentV1SpecTemplateSpecContainerPort,
        DeploymentV1SpecTemplateSpecContainerReadinessProbe,
        DeploymentV1SpecTemplateSpecContainerReadinessProbeHttpGet,
        DeploymentV1SpecTemplateSpecContainerResources,
        DeploymentV1SpecTemplateSpecContainerSecurityContext,
        DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities,
        DeploymentV1SpecTemplateSpecContainerStartupProbe,
        DeploymentV1SpecTemplateSpecContainerStartupProbeHttpGet,
        DeploymentV1SpecTemplateSpecContainerVolumeMount,
        DeploymentV1SpecTemplateSpecSecurityContext,
        DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile,
        DeploymentV1SpecTemplateSpecToleration,
        DeploymentV1SpecTemplateSpecTopologySpreadConstraint,
        DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector,
        DeploymentV1SpecTemplateSpecVolume,
        DeploymentV1SpecTemplateSpecVolumeEmptyDir,
    )
    from cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 import (
        HorizontalPodAutoscalerV2,
        HorizontalPodAutoscalerV2Metadata,
        HorizontalPodAutoscalerV2Spec,
        HorizontalPodAutoscalerV2SpecBehavior,
        HorizontalPodAutoscalerV2SpecBehaviorScaleDown,
        HorizontalPodAutoscalerV2SpecBehaviorScaleDownPolicy,
        HorizontalPodAutoscalerV2SpecBehaviorScaleUp,
        HorizontalPodAutoscalerV2SpecBehaviorScaleUpPolicy,
        HorizontalPodAutoscalerV2SpecMetric,
        HorizontalPodAutoscalerV2SpecMetricExternal,
        HorizontalPodAutoscalerV2SpecMetricExternalMetric,
        HorizontalPodAutoscalerV2SpecMetricExternalMetricSelector,
        HorizontalPodAutoscalerV2SpecMetricExternalTarget,
        HorizontalPodAutoscalerV2SpecMetricObject,
        HorizontalPodAutoscalerV2SpecMetricObjectDescribedObject,
        HorizontalPodAutoscalerV2SpecMetricObjectMetric,
        HorizontalPodAutoscalerV2SpecMetricObjectTarget,
        HorizontalPodAutoscalerV2SpecMetricResource,
        HorizontalPodAutoscalerV2SpecMetricResourceTarget,
        HorizontalPodAutoscalerV2SpecScaleTargetRef,
    )
    from cdktf_cdktf_provider_kubernetes.manifest import Manifest
    from cdktf_cdktf_provider_kubernetes.namespace_v1 import NamespaceV1, NamespaceV1Metadata
    from cdktf_cdktf_provider_kubernetes.network_policy_v1 import (
        NetworkPolicyV1,
        NetworkPolicyV1Metadata,
        NetworkPolicyV1Spec,
        NetworkPolicyV1SpecEgress,
        NetworkPolicyV1SpecEgressPorts,
        NetworkPolicyV1SpecEgressTo,
        NetworkPolicyV1SpecEgressToIpBlock,
        NetworkPolicyV1SpecEgressToNamespaceSelector,
        NetworkPolicyV1SpecEgressToPodSelector,
        NetworkPolicyV1SpecIngress,
        NetworkPolicyV1SpecIngressFrom,
        NetworkPolicyV1SpecIngressFromIpBlock,
        NetworkPolicyV1SpecIngressFromNamespaceSelector,
        NetworkPolicyV1SpecIngressPorts,
        NetworkPolicyV1SpecPodSelector,
    )
    from cdktf_cdktf_provider_kubernetes.pod_disruption_budget_v1 import (
        PodDisruptionBudgetV1,
        PodDisruptionBudgetV1Metadata,
        PodDisruptionBudgetV1Spec,
        PodDisruptionBudgetV1SpecSelector,
    )
    from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider, KubernetesProviderExec
    from cdktf_cdktf_provider_kubernetes.role_binding_v1 import (
        RoleBindingV1,
        RoleBindingV1Metadata,
        RoleBindingV1RoleRef,
        RoleBindingV1Subject,
    )
    from cdktf_cdktf_provider_kubernetes.role_v1 import RoleV1, RoleV1Metadata, RoleV1Rule
    from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata
    from cdktf_cdktf_provider_kubernetes.service_v1 import (
        ServiceV1,
        ServiceV1Metadata,
        ServiceV1Spec,
        ServiceV1SpecPort,
    )
    from constructs import Construct


def configure_google(
    stack: TerraformStack, *, project: str, region: str, labels: Mapping[str, str], simulated: bool
) -> None:
    """Give a stack the google provider. Every resource that can have labels gets these."""
    GoogleProvider(stack, "google", project=project, region=region, default_labels=labels)
    _simulate(stack, "google", simulated)


def configure_kubernetes(stack: TerraformStack, *, host: str, simulated: bool) -> None:
    """Give a stack the kubernetes provider, for the cluster with this DNS name.

    Who runs Terraform logs in as himself, by Google's plugin: nothing of the cluster is asked at plan, and no
    credential is written to a state.
    """
    KubernetesProvider(
        stack,
        "kubernetes",
        host=f"https://{host}",
        exec=[
            KubernetesProviderExec(
                api_version="client.authentication.k8s.io/v1beta1", command="gke-gcloud-auth-plugin"
            )
        ],
        # GKE's controllers write these to Services; removing them at every apply would detach the backends.
        ignore_annotations=[r"^cloud\.google\.com/neg"],
    )
    _simulate(stack, "kubernetes", simulated)


def _simulate(stack: TerraformStack, provider: str, simulated: bool) -> None:
    if simulated:
        stack.add_override(
            f"terraform.required_providers.{provider}.source", f"localhost/simulated/{provider}"
        )
