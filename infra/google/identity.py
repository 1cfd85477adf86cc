"""Who may do something: accounts and workloads that constructs grant access to what they own.

A grant is a resource below its principal, hence in the principal's stack: the later one of the two, where
both are known. What it is granted on has a deterministic name, so no stack refers to another one's state.
"""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, TerraformStack, google

account_iam = google.service_account_iam_member
project_iam = google.project_iam_member


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


class ProjectPrincipal(Principal):
    """Somebody who belongs to a project."""

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
            role: which.
            condition: on what it depends whether the role may be used.
            after: what must exist first.

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
    """A service account of its own, as every workload outside the cluster has.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the account.
        project: of the account.
        description: what it is for.
        after: what must exist first.

    Attributes:
        email: its address.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        project: str,
        description: str,
        after: Sequence[TerraformResource] = (),
    ):
        email = f"{name}@{project}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{email}", project=project)
        self.email: Final = email
        self._name = name
        self._resource = google.service_account.ServiceAccount(
            self,
            "Default",
            account_id=name,
            display_name=name,
            description=description,
            depends_on=[*after],
        )

    def grant_attach(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let somebody make resources that run as this account. Returns the grant."""
        return self._grant("attach", "roles/iam.serviceAccountUser", principal)

    def grant_federation(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let identities of a workload identity pool become this account. Returns the grant."""
        return self._grant("federate", "roles/iam.workloadIdentityUser", principal)

    def grant_sign_in_as(self, principal: Principal) -> account_iam.ServiceAccountIamMember:
        """Let somebody mint tokens that say they are this account. Returns the grant."""
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
    """The account by which a Google service itself does something in the project.

    https://cloud.google.com/iam/docs/service-agents

    Args:
        scope: where it belongs.
        id_: its id there.
        project_number: of the project that it acts in.
        service: name of the service in such addresses, such as `gcp-sa-pubsub`.
        exists_with: what it comes into being with, if that is made by Terraform: IAM refuses a member that
            does not exist.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        project_number: int,
        service: str,
        exists_with: TerraformResource | None = None,
    ):
        account = f"service-{project_number}@{service}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{account}")
        self._resource = exists_with


class PubsubServiceAgent(ServiceAgent):
    """The account by which Pub/Sub forwards messages: to dead letters, BigQuery tables and endpoints.

    Google makes it when the project first uses Pub/Sub: `exists_with` is a topic.
    """

    def __init__(self, scope: Construct, id_: str, *, project_number: int, exists_with: TerraformResource):
        super().__init__(
            scope,
            id_,
            project_number=project_number,
            service="gcp-sa-pubsub",
            exists_with=exists_with,
        )


class WorkloadIdentity(ProjectPrincipal):
    """Pods that run as a Kubernetes service account; there is no Google account and no key.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity#principal-id-examples
    """

    def __init__(
        self, scope: Construct, id_: str, *, project: str, project_number: int, namespace: str, name: str
    ):
        pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{project}.svc.id.goog"
        member = f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{name}"
        super().__init__(scope, id_, member=member, project=project)
