"""A namespace of the cluster."""

from collections.abc import Mapping
from typing import Final

from infra.identity import WorkloadIdentity
from infra.providers import Construct, NamespaceV1, NamespaceV1Metadata


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
        security = {"pod-security.kubernetes.io/enforce": "restricted"}
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
