"""Identities of CI: GitHub's or GitLab's tokens are exchanged for those of two accounts; there is no key.

https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.google.identity import Account, NewAccount, Principal


class _Issuer(NamedTuple):
    """Who signs tokens, and the claims in them: repository, its number, ref; what a pull request's says."""

    name: str
    uri: str
    repository: str
    repository_id: str
    ref: str
    pull_request: str


_ISSUERS: Final = {
    # https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims
    "github": _Issuer(
        "GitHub Actions",
        "https://token.actions.githubusercontent.com",
        repository="repository",
        repository_id="repository_id",
        ref="ref",
        pull_request="assertion.event_name == 'pull_request'",
    ),
    # https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload
    "gitlab": _Issuer(
        "GitLab CI",
        "https://gitlab.com",
        repository="project_path",
        repository_id="project_id",
        ref="ref_path",
        pull_request="assertion.pipeline_source == 'merge_request_event'",
    ),
}


class CiIdentity(Construct):
    """An account that plans and one that applies, for jobs of one repository.

    Pull requests and jobs on the deployed branch may plan. Only a job on this branch that runs in GitHub's or
    GitLab's environment of the same name may apply, so after the approval that this environment requires. All
    other tokens are refused before they reach an account.

    The name of a destroyed pool stays taken for 30 days: `gcloud iam workload-identity-pools undelete` and
    import it.

    Args:
        repository: its name, as `owner/name`.
        repository_id: its number, which nobody can take over with the name.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        issuer: Literal["github", "gitlab"],
        repository: str,
        repository_id: int,
        after: Sequence[TerraformResource],
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        by = _ISSUERS[issuer]
        self._pool_path = f"projects/{place.project_number}/locations/global/workloadIdentityPools/{issuer}"
        pool = google.iam_workload_identity_pool.IamWorkloadIdentityPool(
            self,
            "Default",
            workload_identity_pool_id=issuer,
            display_name=by.name,
            description=f"Workflows of {repository}",
            depends_on=after,
        )
        on_branch = f"assertion.{by.ref} == 'refs/heads/main'"
        # Reading a claim that the token lacks is an error.
        in_environment = f"has(assertion.environment) && assertion.environment == '{place.name}'"
        # GitLab's merge request from the branch `main` of a fork has the ref of this branch.
        may_apply = f"{in_environment} && {on_branch} && !({by.pull_request})"
        may_plan = f"{by.pull_request} || {on_branch}"
        provider = google.iam_workload_identity_pool_provider.IamWorkloadIdentityPoolProvider(
            self,
            "provider",
            workload_identity_pool_id=pool.workload_identity_pool_id,
            workload_identity_pool_provider_id=issuer,
            display_name=by.name,
            oidc={"issuer_uri": by.uri},
            attribute_mapping={
                "google.subject": "assertion.sub",
                "attribute.access": f"{may_apply} ? 'apply' : ({may_plan} ? 'plan' : 'none')",
            },
            # The issuer serves all repositories. A repository's name could be taken over after a move.
            attribute_condition=f"assertion.{by.repository} == '{repository}' && "
            f"assertion.{by.repository_id} == '{repository_id}' && attribute.access != 'none'",
        )
        waive(provider, {"CKV_GCP_125": "its condition asks for the repository, branch and environment"})
        # Google refuses a grant to members of a pool that does not exist yet.
        after = [pool, *after]
        self.plan: Final = self._account("plan", "CI that plans: reads settings and state", after)
        self.apply: Final = self._account("apply", "CI that applies, after approval", after)

    def _account(self, access: str, description: str, after: Sequence[TerraformResource]) -> Account:
        account = NewAccount(self, f"ci-{access}", description=description, after=after)
        member = f"principalSet://iam.googleapis.com/{self._pool_path}/attribute.access/{access}"
        account.grant_federation(Principal(self, f"{access}-workflows", member=member))
        return account
