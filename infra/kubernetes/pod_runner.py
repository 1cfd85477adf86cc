"""Pods that somebody outside the cluster starts, and what he may do for that."""

from typing import Final

from infra.cdk import Construct, kubernetes
from infra.google.identity import Account
from infra.kubernetes.namespace import Namespace

role_binding_v1 = kubernetes.role_binding_v1
role_v1 = kubernetes.role_v1

# What Airflow's operator does: make a pod, follow its log, read its result in its status, remove it.
_RULES: Final = (
    ("", ("pods",), ("create", "get", "list", "watch", "patch", "delete")),
    ("", ("pods/log",), ("get",)),
    ("", ("events",), ("list",)),
)


class PodRunner(Construct):
    """A service account that pods run as, and a starter who may run pods in its namespace and nothing else.

    Args:
        id_: its id; the name of everything it has in the cluster.
        namespace: in which the pods run.
        starter: who starts them.

    Attributes:
        identity: who the pods are.
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: Namespace, starter: Account):
        super().__init__(scope, id_)
        self.name: Final = id_
        _, identity = namespace.service_account(self, name=id_, labels=namespace.labels)
        self.identity: Final = identity
        role = role_v1.RoleV1(
            self,
            "role",
            metadata=role_v1.RoleV1Metadata(
                name=f"start-{id_}", namespace=namespace.name, labels=namespace.labels
            ),
            rule=[
                role_v1.RoleV1Rule(api_groups=[group], resources=list(resources), verbs=list(verbs))
                for group, resources, verbs in _RULES
            ],
            depends_on=[namespace.resource],
        )
        role_binding_v1.RoleBindingV1(
            self,
            "binding",
            metadata=role_binding_v1.RoleBindingV1Metadata(
                name=f"start-{id_}", namespace=namespace.name, labels=namespace.labels
            ),
            role_ref=role_binding_v1.RoleBindingV1RoleRef(
                api_group="rbac.authorization.k8s.io", kind="Role", name=f"start-{id_}"
            ),
            subject=[
                role_binding_v1.RoleBindingV1Subject(
                    api_group="rbac.authorization.k8s.io", kind="User", name=starter.email
                )
            ],
            depends_on=[role],
        )
