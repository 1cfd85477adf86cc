"""Principals: accounts and workloads that constructs grant access to what they own.

A grant is a resource below its principal, and so in the principal's stack, which is the later one of the two.
The resource it is granted on has a deterministic name, so no stack reads the state of another one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from infra.cdk import Block, Construct, TerraformResource, TerraformStack, cdktf, google
from infra.cdk.stack import place_of


class Principal(Construct):
    """An identity that can be granted roles; `member` is its name in IAM policies."""

    def __init__(self, scope: Construct, id_: str, *, member: str):
        super().__init__(scope, id_)
        self.member: Final = member
        self._resource: TerraformResource | None = None

    def grant(
        self,
        kind: Callable[..., TerraformResource],
        id_: str,
        role: str,
        *on: TerraformResource | None,
        member: str | None = None,
        **arguments: Any,
    ) -> TerraformResource:
        """Grant the principal a role, and return the grant, for what must wait for it.

        A grant vanishes with the resource it is on, and Terraform, which knows both by name, would notice
        at the next apply only: so a replacement of the one replaces the other, if this stack has both.

        `on` is what it is granted on; nothing for what exists before Terraform does. `member` is the
        principal as this kind of grant writes it.
        """
        stack = TerraformStack.of(self)
        own = [each for each in (self._resource, *on) if each and TerraformStack.of(each) is stack]
        if own:
            ids = [f"{each.terraform_resource_type}.{each.friendly_unique_id}.id" for each in own]
            arguments["depends_on"] = [*arguments.get("depends_on", ()), *own]
            arguments["lifecycle"] = {"replace_triggered_by": ids}
        return kind(self, id_, role=role, member=member or self.member, **arguments)

    def grant_project_role(
        self, role: str, *, condition: Block | None = None, after: Sequence[TerraformResource] = ()
    ) -> TerraformResource:
        """Grant a role on the project. Only for what cannot be granted on a resource."""
        return self.grant(
            google.project_iam_member.ProjectIamMember,
            role.rpartition("/")[2],
            role,
            project=place_of(self).project_id,
            condition=condition,
            depends_on=[*after],
        )


class Account(Principal):
    """A service account that exists; every workload outside the cluster has its own."""

    def __init__(self, scope: Construct, id_: str):
        place = place_of(scope)
        self._name = f"{place.platform}-{id_}"
        self.email: Final = f"{self._name}@{place.project_id}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{self.email}")

    def grant_attach(self, principal: Principal) -> TerraformResource:
        """Let a principal make resources that run as this account. Returns the grant."""
        return self._grant("attach", "roles/iam.serviceAccountUser", principal)

    def grant_federation(self, principal: Principal) -> TerraformResource:
        """Let identities of a workload identity pool become this account. Returns the grant."""
        return self._grant("federate", "roles/iam.workloadIdentityUser", principal)

    def grant_sign_in_as(self, principal: Principal) -> TerraformResource:
        """Let a principal mint tokens that say they are this account. Returns the grant."""
        return self._grant("sign-in-as", "roles/iam.serviceAccountTokenCreator", principal)

    def _grant(self, id_: str, role: str, principal: Principal) -> TerraformResource:
        return principal.grant(
            google.service_account_iam_member.ServiceAccountIamMember,
            f"{id_}-{self._name}",
            role,
            self._resource,
            service_account_id=f"projects/{place_of(self).project_id}/serviceAccounts/{self.email}",
        )


class NewAccount(Account):
    """A service account that the stack creates.

    Only `foundation` does, which a person applies. Whoever may set the policy of an account may act as it,
    and so may whoever may create accounts and set policies of the project's others.
    """

    def __init__(self, scope: Construct, id_: str, *, description: str, after: Sequence[TerraformResource]):
        super().__init__(scope, id_)
        self._resource = google.service_account.ServiceAccount(
            self,
            "Default",
            account_id=self._name,
            display_name=self._name,
            description=description,
            depends_on=[*after],
        )


class ServiceAgent(Principal):
    """The account as which a Google service, such as `gcp-sa-pubsub`, acts in the project.

    scripts/bootstrap.sh makes it: https://cloud.google.com/iam/docs/service-agents
    """

    def __init__(self, scope: Construct, id_: str, *, service: str):
        account = f"service-{place_of(scope).project_number}@{service}.iam.gserviceaccount.com"
        super().__init__(scope, id_, member=f"serviceAccount:{account}")


class WorkloadIdentity(Principal):
    """Pods that run as a Kubernetes service account. There is no Google account and no key.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity#principal-id-examples
    """

    def __init__(self, scope: Construct, id_: str, *, namespace: str, name: str):
        place = place_of(scope)
        project, project_number = place.project_id, place.project_number
        pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{project}.svc.id.goog"
        member = f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{name}"
        super().__init__(scope, id_, member=member)


def propagated(scope: Construct, grants: Sequence[TerraformResource]) -> TerraformResource:
    """Something to depend on that exists when grants are in effect everywhere in Google Cloud.

    IAM says that a grant takes two minutes. Only for what fails for good, or for half an hour, without it.
    https://cloud.google.com/iam/docs/access-change-propagation
    """
    wait = cdktf.LocalExecProvisioner(type="local-exec", command="sleep 120")
    return cdktf.DataResource(
        scope,
        "grants-in-effect",
        triggers_replace={str(index): grant.get_string_attribute("id") for index, grant in enumerate(grants)},
        provisioners=None if place_of(scope).simulated else [wait],
    )
