"""A namespace of the cluster."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.cdk import Construct, TerraformResource, kubernetes
from infra.cdk.stack import place_of
from infra.google.identity import WorkloadIdentity


class Namespace(Construct):
    """A namespace with the `restricted` Pod Security Standard.

    Args:
        google_apis: addresses of Google's APIs, for its network policies.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, google_apis: str):
        super().__init__(scope, id_)
        self.google_apis: Final = google_apis
        self.name: Final = name
        place = place_of(self)
        self.labels: Final = {
            "app.kubernetes.io/part-of": place.platform,
            "app.kubernetes.io/managed-by": "terraform",
            "environment": place.name,
        }
        # https://kubernetes.io/docs/concepts/security/pod-security-admission/
        modes = ("enforce", "audit", "warn")
        security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
        self.resource: Final = kubernetes.namespace_v1.NamespaceV1(
            self,
            "Default",
            metadata={"name": name, "labels": {**self.labels, **security}},
            # It waits for its load balancer to go; the default is five minutes.
            timeouts={"delete": "20m"},
        )

    def service_account(
        self, scope: Construct, *, name: str, labels: Mapping[str, str]
    ) -> tuple[TerraformResource, WorkloadIdentity]:
        """A service account, and the identity of its pods. They get no token for the Kubernetes API."""
        account = kubernetes.service_account_v1.ServiceAccountV1(
            scope,
            "account",
            metadata={"name": name, "namespace": self.name, "labels": labels},
            automount_service_account_token=False,
            depends_on=[self.resource],
        )
        return account, WorkloadIdentity(scope, "identity", namespace=self.name, name=name)

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

        Terraform reads the schema of the kind from the cluster while it plans. This works because the cluster
        is another stack, and because GKE installs these kinds: the Gateway API, policies of load balancers,
        managed Prometheus and the vertical autoscaler are enabled with the cluster.
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
