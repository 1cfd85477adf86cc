"""Identities of CI: GitHub's tokens are exchanged for short-lived tokens of two accounts; there is no key.

https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines
"""

from collections.abc import Sequence
from typing import Final

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import environment_of
from infra.cdk.waivers import waive
from infra.environment import PLATFORM
from infra.environment.foundation import CiSettings
from infra.google.identity import Account, Principal

_POOL: Final = "github"
_BRANCH: Final = "main"
_ISSUER: Final = "https://token.actions.githubusercontent.com"


class CiIdentity(Construct):
    """An account that plans and one that applies, for workflows of one repository.

    Pull requests and jobs on the deployed branch may plan. Only a job on this branch that runs in the GitHub
    environment of the same name may apply, so after the approval that this environment requires. All other
    tokens are refused before they reach an account.

    The name of a destroyed pool stays taken for 30 days: `gcloud iam workload-identity-pools undelete` and
    import it.

    Args:
        ci: the repository.
        after: resources that must exist first.

    Attributes:
        plan: account that reads settings and state.
        apply: account that changes what the stacks own.
    """

    def __init__(self, scope: Construct, id_: str, *, ci: CiSettings, after: Sequence[TerraformResource]):
        super().__init__(scope, id_)
        environment = environment_of(self)
        self._pool_path = (
            f"projects/{environment.project_number}/locations/global/workloadIdentityPools/{_POOL}"
        )
        pool = google.iam_workload_identity_pool.IamWorkloadIdentityPool(
            self,
            "Default",
            workload_identity_pool_id=_POOL,
            display_name="GitHub Actions",
            description=f"Workflows of {ci.repository}",
            depends_on=after,
        )
        on_branch = f"assertion.ref == 'refs/heads/{_BRANCH}'"
        # Reading a claim that the token lacks is an error.
        may_apply = (
            f"has(assertion.environment) && assertion.environment == '{environment.name}' && {on_branch}"
        )
        may_plan = f"assertion.event_name == 'pull_request' || {on_branch}"
        provider = google.iam_workload_identity_pool_provider.IamWorkloadIdentityPoolProvider(
            self,
            "provider",
            workload_identity_pool_id=pool.workload_identity_pool_id,
            workload_identity_pool_provider_id=_POOL,
            display_name="GitHub Actions",
            oidc=google.iam_workload_identity_pool_provider.IamWorkloadIdentityPoolProviderOidc(
                issuer_uri=_ISSUER
            ),
            attribute_mapping={
                "google.subject": "assertion.sub",
                "attribute.access": f"{may_apply} ? 'apply' : ({may_plan} ? 'plan' : 'none')",
            },
            # The issuer is the same for all of GitHub. A repository's name could be taken over after a move.
            attribute_condition=" && ".join(
                [
                    f"assertion.repository == '{ci.repository}'",
                    f"assertion.repository_id == '{ci.repository_id}'",
                    "attribute.access != 'none'",
                ]
            ),
        )
        waive(provider, {"CKV_GCP_125": "its condition asks for the repository, branch and environment"})
        self.plan: Final = Account(
            self,
            "plan",
            name=f"{PLATFORM}-ci-plan",
            description="CI that plans: reads settings and state",
            after=after,
        )
        self.apply: Final = Account(
            self,
            "apply",
            name=f"{PLATFORM}-ci-apply",
            description="CI that applies, after approval",
            after=after,
        )
        for access, account in (("plan", self.plan), ("apply", self.apply)):
            workflows = Principal(
                self,
                f"{access}-workflows",
                member=f"principalSet://iam.googleapis.com/{self._pool_path}/attribute.access/{access}",
            )
            account.grant_federation(workflows)
