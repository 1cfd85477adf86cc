"""A namespace of the cluster."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.identity import WorkloadIdentity
from infra.providers import Construct, Manifest, NamespaceV1, NamespaceV1Metadata, TerraformResource


class Namespace(Construct):
    """A namespace in which Kubernetes itself refuses pods with more rights than ours ask for.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the namespace.
        labels: of it and of all objects in it.
        project: of the cluster.
        project_number: of that project.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        labels: Mapping[str, str],
        project: str,
        project_number: int,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        self.labels: Final = labels
        self._project = project
        self._project_number = project_number
        # https://kubernetes.io/docs/concepts/security/pod-security-admission/
        security = {
            f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "audit", "warn")
        }
        self.resource: Final = NamespaceV1(
            self, "Default", metadata=NamespaceV1Metadata(name=name, labels={**labels, **security})
        )

    def identity(self, scope: Construct, id_: str, *, service_account: str) -> WorkloadIdentity:
        """Who pods are that run as a service account of this namespace."""
        return WorkloadIdentity(
            scope,
            id_,
            project=self._project,
            project_number=self._project_number,
            namespace=self.name,
            name=service_account,
        )

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
    ) -> Manifest:
        """An object of a kind that has no Terraform resource of its own.

        Terraform asks the cluster for the kind's schema while it plans. That works because the cluster is
        another stack, and because GKE brings these kinds along: the Gateway API, the policies of its load
        balancers, managed Prometheus and the vertical autoscaler are switched on with the cluster.

        Args:
            scope: where it belongs.
            id_: its id there.
            api: group and version.
            kind: of the object.
            name: of the object.
            spec: of the object, in Kubernetes' own words.
            after: what it waits for, besides the namespace.
        """
        return Manifest(
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
