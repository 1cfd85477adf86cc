"""Principals: accounts and workloads that constructs grant access to what they own.

A grant is a resource below its principal, and so in the principal's stack, which is the later one of the two.
The resource it is granted on has a deterministic name, so no stack reads the state of another one.
"""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, TerraformStack, google
from infra.cdk.stack import environment_of

account_iam = google.service_account_iam_member
project_iam = google.project_iam_member


class Principal(Construct):
    """An identity that can be granted roles.

    Attributes:
        member: its name in IAM policies.
    """

    def __init__(self, scope: Construct, id_: str, *, member: str):
        super().__init__(scope, id_)
        self.member: Final = member
        self._resource: TerraformResource | None = None
        self._stack = TerraformStack.of(self)

    def depends_on(self, *granted: TerraformResource) -> Sequence[TerraformResource]:
        """What a grant depends on: the principal and granted resources, if this stack creates them."""
        own = [resource for resource in granted if TerraformStack.of(resource) is self._stack]
        return [self._resource, *own] if self._resource else own


class ProjectPrincipal(Principal):
    """A principal that can be granted roles on a project."""

    def __init__(self, scope: Construct, id_: str, *, member: str, project: str):
        super().__init__(scope, id_, member=member)
        self._project = project

    def grant_project_role(
        self,
        role: str,
        *,
        condition: project_iam.ProjectIamMemberCondition | None = None,
        after: Sequence[TerraformResource] = (),
    ) -> project_iam.ProjectIamMember:
        """Grant a role on the project. Only for what cannot be granted on a resource.

        Args:
            role: name of the role.
            condition: condition of the grant.
            after: resources that must exist first.

        Returns:
            The grant.
        """
        return project_iam.ProjectIamMember(
            self,
            role.rpartition("/")[2],
            project=self._project,
            role=role,
            member=self.member,
            condition=condition,
            depends_on=[*self.depends_on(), *after],
        )


class Account(ProjectPrincipal):
    """A service account; every workload outside the cluster has its own.

    Args:
        name: name of the account.
        description: purpose of the account.
        after: resources that must exist first.

    Attributes:
        email: address of the account.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        description: str,
        after: Sequence[TerraformResource] = (),
    ):
        project = environment_of(scope).project_id
        email = f"{name}@{project}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{email}", project=project)
        self.email: Final = email
        self._name = name
        self._resource = google.service_account.ServiceAccount(
            self, "Default", account_id=name, display_name=name, description=description, depends_on=[*after]
        )

    def grant_attach(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let a principal make resources that run as this account. Returns the grant."""
        return self._grant("attach", "roles/iam.serviceAccountUser", principal)

    def grant_federation(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let identities of a workload identity pool become this account. Returns the grant."""
        return self._grant("federate", "roles/iam.workloadIdentityUser", principal)

    def grant_sign_in_as(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let a principal mint tokens that say they are this account. Returns the grant."""
        return self._grant("sign-in-as", "roles/iam.serviceAccountTokenCreator", principal)

    def _grant(self, id_: str, role: str, principal: Principal) -> account_iam.ServiceAccountIamMember:
        return account_iam.ServiceAccountIamMember(
            principal,
            f"{id_}-{self._name}",
            service_account_id=f"projects/{self._project}/serviceAccounts/{self.email}",
            role=role,
            member=principal.member,
            depends_on=principal.depends_on(*self.depends_on()),
        )


class ServiceAgent(Principal):
    """The account as which a Google service acts in the project.

    https://cloud.google.com/iam/docs/service-agents

    Args:
        service: name of the service in such addresses, such as `gcp-sa-pubsub`.
        exists_with: resource whose creation makes Google create the account: IAM refuses members that do not
            exist. None if the account exists from the start.
    """

    def __init__(
        self, scope: Construct, id_: str, *, service: str, exists_with: TerraformResource | None = None
    ):
        account = f"service-{environment_of(scope).project_number}@{service}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{account}")
        self._resource = exists_with


class WorkloadIdentity(ProjectPrincipal):
    """Pods that run as a Kubernetes service account. There is no Google account and no key.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity#principal-id-examples
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: str, name: str):
        environment = environment_of(scope)
        project, project_number = environment.project_id, environment.project_number
        pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{project}.svc.id.goog"
        member = f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{name}"
        super().__init__(scope, id_, member=member, project=project)
