"""Who may do something: accounts and workloads that constructs grant access to what they own.

A grant is a resource below its principal, hence in the principal's stack: the later one of the two, where
both are known. What it is granted on has a deterministic name, so no stack refers to another one's state.
"""

from collections.abc import Sequence
from typing import Final

from infra.providers import (
    Construct,
    ProjectIamMember,
    ServiceAccount,
    ServiceAccountIamMember,
    TerraformResource,
    TerraformStack,
)


class Principal(Construct):
    """Somebody who may be granted something.

    Attributes:
        member: how IAM calls him.
    """

    def __init__(self, scope: Construct, id_: str, *, member: str):
        super().__init__(scope, id_)
        self.member: Final = member
        self._resource: TerraformResource | None = None
        self._stack = TerraformStack.of(self)

    def depends_on(self, *granted: TerraformResource) -> Sequence[TerraformResource]:
        """What a grant waits for: of the principal and what it is granted on, what this stack creates."""
        own = [resource for resource in granted if TerraformStack.of(resource) is self._stack]
        return [self._resource, *own] if self._resource else own


class Account(Principal):
    """A service account of its own, as every workload outside the cluster has.

    Attributes:
        email: its address.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, project: str, description: str):
        email = f"{name}@{project}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{email}")
        self.email: Final = email
        self._name = name
        self._project = project
        self._resource = ServiceAccount(
            self, "Default", account_id=name, display_name=name, description=description
        )

    def grant_project_role(self, role: str) -> ProjectIamMember:
        """Grant a role on the project. Only for what cannot be granted on a resource. Returns the grant."""
        return ProjectIamMember(
            self,
            role.removeprefix("roles/"),
            project=self._project,
            role=role,
            member=self.member,
            depends_on=self.depends_on(),
        )

    def grant_sign_in_as(self, principal: Principal) -> ServiceAccountIamMember:
        """Let somebody mint tokens that say they are this account. Returns the grant."""
        return ServiceAccountIamMember(
            principal,
            f"sign-in-as-{self._name}",
            service_account_id=f"projects/{self._project}/serviceAccounts/{self.email}",
            role="roles/iam.serviceAccountTokenCreator",
            member=principal.member,
            depends_on=principal.depends_on(*self.depends_on()),
        )


class PubsubServiceAgent(Principal):
    """The account by which Pub/Sub itself forwards messages: to dead letters, BigQuery tables and endpoints.

    https://cloud.google.com/iam/docs/service-agents

    Args:
        scope: where it belongs.
        id_: its id there.
        project_number: of the project that it acts in.
        exists_with: a topic. Google makes the account when the project first uses Pub/Sub, and IAM refuses
            a member that does not exist.
    """

    def __init__(self, scope: Construct, id_: str, *, project_number: int, exists_with: TerraformResource):
        account = f"service-{project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{account}")
        self._resource = exists_with


class WorkloadIdentity(Principal):
    """Pods that run as a Kubernetes service account; there is no Google account and no key.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity#principal-id-examples
    """

    def __init__(
        self, scope: Construct, id_: str, *, project: str, project_number: int, namespace: str, name: str
    ):
        pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{project}.svc.id.goog"
        member = f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{name}"
        super().__init__(scope, id_, member=member)
