"""A namespace of the cluster."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.cdk import Construct, TerraformResource, kubernetes
from infra.environment import PLATFORM, Environment
from infra.google.identity import WorkloadIdentity

service_account_v1 = kubernetes.service_account_v1


class Namespace(Construct):
    """A namespace in which Kubernetes itself refuses pods with more rights than ours ask for.

    Args:
        name: name of the namespace.
        environment: of the cluster.

    Attributes:
        labels: labels of it and of all objects in it.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, environment: Environment):
        super().__init__(scope, id_)
        self.name: Final = name
        self.labels: Final = {
            "app.kubernetes.io/part-of": PLATFORM,
            "app.kubernetes.io/managed-by": "terraform",
            "environment": environment.name,
        }
        self._environment = environment
        # https://kubernetes.io/docs/concepts/security/pod-security-admission/
        security = {
            f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "audit", "warn")
        }
        self.resource: Final = kubernetes.namespace_v1.NamespaceV1(
            self,
            "Default",
            metadata=kubernetes.namespace_v1.NamespaceV1Metadata(
                name=name, labels={**self.labels, **security}
            ),
        )

    def service_account(
        self, scope: Construct, *, name: str, labels: Mapping[str, str]
    ) -> tuple[service_account_v1.ServiceAccountV1, WorkloadIdentity]:
        """A service account, and who pods are that run as it. They get no token for the Kubernetes API."""
        account = service_account_v1.ServiceAccountV1(
            scope,
            "account",
            metadata=service_account_v1.ServiceAccountV1Metadata(
                name=name, namespace=self.name, labels=labels
            ),
            automount_service_account_token=False,
            depends_on=[self.resource],
        )
        identity = WorkloadIdentity(
            scope,
            "identity",
            project=self._environment.project_id,
            project_number=self._environment.project_number,
            namespace=self.name,
            name=name,
        )
        return account, identity

    def custom_object(
        self,
        scope: Construct,
        id_: str,
        *,
        api: str,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        after: Sequence[TerraformResource] = (),
    ) -> kubernetes.manifest.Manifest:
        """An object of a kind that has no Terraform resource of its own.

        Terraform asks the cluster for the kind's schema while it plans. That works because the cluster is
        another stack, and because GKE brings these kinds along: the Gateway API, the policies of its load
        balancers, managed Prometheus and the vertical autoscaler are switched on with the cluster.

        Args:
            scope: parent construct.
            id_: its id within the parent.
            api: group and version.
            kind: of the object.
            name: name of the object.
            spec: of the object, in Kubernetes' own words.
            after: what it waits for, besides the namespace.
        """
        return kubernetes.manifest.Manifest(
            scope,
            id_,
            manifest={
                "apiVersion": api,
                "kind": kind,
                "metadata": {"name": name, "namespace": self.name, "labels": self.labels},
                "spec": spec,
            },
            depends_on=[self.resource, *after],
        )
