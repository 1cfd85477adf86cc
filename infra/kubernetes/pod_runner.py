"""Pods that are started from outside the cluster, and the rights to start them."""

from typing import Final

from infra.cdk import Construct, kubernetes
from infra.google.identity import Account
from infra.kubernetes.namespace import Namespace


class PodRunner(Construct):
    """A service account of pods, and an account outside the cluster that may only run such pods."""

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace, starter: Account):
        super().__init__(scope, id_)
        self.name: Final = id_
        _, self.identity = namespace.service_account(self, name=id_, labels=namespace.labels)
        role = kubernetes.role_v1.RoleV1(
            self,
            "role",
            metadata={"name": f"start-{id_}", "namespace": namespace.name, "labels": namespace.labels},
            # Airflow's operator creates a pod, follows its log, reads its status and deletes it.
            rule=[
                {"api_groups": [""], "resources": [resource], "verbs": verbs}
                for resource, verbs in (
                    ("pods", ["create", "get", "list", "watch", "patch", "delete"]),
                    ("pods/log", ["get"]),
                    ("events", ["list", "watch"]),
                )
            ],
            depends_on=[namespace.resource],
        )
        kubernetes.role_binding_v1.RoleBindingV1(
            self,
            "binding",
            metadata={"name": f"start-{id_}", "namespace": namespace.name, "labels": namespace.labels},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": f"start-{id_}"},
            subject=[{"api_group": "rbac.authorization.k8s.io", "kind": "User", "name": starter.email}],
            depends_on=[role],
        )
