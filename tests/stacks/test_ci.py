"""Who CI is: which tokens become which account, by evaluating the provider's own expressions."""

import cel
import pytest

from tests.stacks.synthesized import Stack, Synthesis

BRANCH = "refs/heads/main"
PULL_REQUEST = "refs/pull/7/merge"
# https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims
TOKEN = {
    "repository": "your-organization/sales-forecast-platform",
    "repository_id": "100000001",
    "ref": BRANCH,
    "event_name": "push",
}


# https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload
OF_GITLAB = {
    "project_path": "your-organization/sales-forecast-platform",
    "project_id": "100000001",
    "ref_path": BRANCH,
    "pipeline_source": "push",
}


MERGE_REQUEST = {"pipeline_source": "merge_request_event"}


def access(synthesis: Synthesis, **claims: str) -> str | None:
    """What prod gives to a token with these claims: plan, apply, or None where it is refused."""
    return exchange(synthesis.stack("prod-foundation"), TOKEN | claims)


def exchange(foundation: Stack, assertion: dict[str, str]) -> str | None:
    provider = foundation.one("google_iam_workload_identity_pool_provider")
    mapped = cel.evaluate(provider["attribute_mapping"]["attribute.access"], {"assertion": assertion})
    context = {"assertion": assertion, "attribute": {"access": mapped}}
    return mapped if cel.evaluate(provider["attribute_condition"], context) else None


def test_an_approved_job_on_the_branch_applies(synthesis: Synthesis) -> None:
    assert access(synthesis, environment="prod") == "apply"
    assert access(synthesis, environment="prod", event_name="workflow_dispatch") == "apply"


def test_pull_requests_and_the_branch_plan(synthesis: Synthesis) -> None:
    assert access(synthesis, ref=PULL_REQUEST, event_name="pull_request") == "plan"
    assert access(synthesis, event_name="schedule") == "plan"


@pytest.mark.parametrize("environment", ["dev", "staging", "Prod", "prod2", ""])
def test_another_github_environment_does_not_apply(synthesis: Synthesis, environment: str) -> None:
    assert access(synthesis, environment=environment) == "plan"


def test_a_pull_request_does_not_apply_whatever_environment_it_names(synthesis: Synthesis) -> None:
    """Its workflow may be what it changes."""
    assert access(synthesis, ref=PULL_REQUEST, event_name="pull_request", environment="prod") == "plan"


@pytest.mark.parametrize(
    "claims",
    [
        {"ref": "refs/heads/feature"},
        {"ref": "refs/heads/main2"},
        {"ref": "refs/tags/main"},
        {"ref": "refs/heads/feature", "environment": "prod"},
        {"repository": "somebody/sales-forecast-platform"},
        {"repository_id": "100000002"},  # a new repository by the old name
        {"repository": "somebody/fork", "repository_id": "5", "environment": "prod"},
        {"repository": "somebody/fork", "repository_id": "5", "event_name": "pull_request"},
    ],
)
def test_anybody_else_is_refused(synthesis: Synthesis, claims: dict[str, str]) -> None:
    assert access(synthesis, **claims) is None


@pytest.mark.parametrize(
    ("claims", "granted"),
    [
        ({"environment": "closed"}, "apply"),
        ({"environment": "prod"}, "plan"),
        ({}, "plan"),
        ({"ref_path": "refs/heads/feature"} | MERGE_REQUEST, "plan"),
        ({"ref_path": "refs/heads/feature", "environment": "closed"} | MERGE_REQUEST, "plan"),
        ({"environment": "closed"} | MERGE_REQUEST, "plan"),  # from the branch `main` of a fork
        ({"ref_path": "refs/heads/feature", "environment": "closed"}, None),
        ({"ref_path": "refs/tags/main", "environment": "closed"}, None),
        ({"project_path": "somebody/fork", "project_id": "5", "environment": "closed"}, None),
        ({"project_id": "5", "environment": "closed"}, None),
    ],
)
def test_gitlab_has_the_same_rules(variants: Synthesis, claims: dict[str, str], granted: str | None) -> None:
    foundation = variants.stack("closed-foundation")
    assert exchange(foundation, OF_GITLAB | claims) == granted
    provider = foundation.one("google_iam_workload_identity_pool_provider")
    assert provider["oidc"] == {"issuer_uri": "https://gitlab.com"}
    grants = foundation.all("google_service_account_iam_member").values()
    pools = {each["member"] for each in grants if each["role"] == "roles/iam.workloadIdentityUser"}
    assert len(pools) == 2
    assert all("/workloadIdentityPools/gitlab/" in each for each in pools)


def test_each_access_is_one_account(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    pool = "projects/100000000004/locations/global/workloadIdentityPools/github"
    for each in ("plan", "apply"):
        email = f"sales-forecast-ci-{each}@sales-forecast-prod.iam.gserviceaccount.com"
        grant = foundation.one(
            "google_service_account_iam_member",
            service_account_id=f"projects/sales-forecast-prod/serviceAccounts/{email}",
            role="roles/iam.workloadIdentityUser",
            member=f"principalSet://iam.googleapis.com/{pool}/attribute.access/{each}",
        )
        # A grant to members of a pool that does not exist is refused.
        (account,) = foundation.awaited(grant)
        kind, _, name = account.partition(".")
        waits = foundation.awaited(foundation.all(kind)[name])
        assert foundation.address("google_iam_workload_identity_pool") in waits


def test_plan_sees_no_content(synthesis: Synthesis) -> None:
    foundation = synthesis.stack("prod-foundation")
    plan = "serviceAccount:sales-forecast-ci-plan@sales-forecast-prod.iam.gserviceaccount.com"
    roles = {
        each["role"]
        for each in foundation.all("google_project_iam_member").values()
        if each["member"] == plan
    }
    assert all(role.endswith(("iewer", "Reviewer", "/ciPlan", "dns.reader")) for role in roles)
    assert not {"roles/bigquery.dataViewer", "roles/storage.objectViewer", "roles/logging.viewer"} & roles
    permissions = foundation.one("google_project_iam_custom_role", role_id="ciPlan")["permissions"]
    assert all(permission.endswith(".get") for permission in permissions)


def test_apply_manages_secrets_whose_values_a_person_adds_and_it_cannot_read(synthesis: Synthesis) -> None:
    """It may set their policies, hence the deny policy, which it cannot change."""
    foundation = synthesis.stack("prod-foundation")
    permissions = foundation.one("google_project_iam_custom_role", role_id="ciApply")["permissions"]
    assert {permission.rpartition(".")[0] for permission in permissions} == {
        "bigquery.transfers",
        "secretmanager.secrets",
    }
    apply = "sales-forecast-ci-apply@sales-forecast-prod.iam.gserviceaccount.com"
    roles = [
        each["role"]
        for each in foundation.all("google_project_iam_member").values()
        if each["member"] == f"serviceAccount:{apply}"
    ]
    assert not [role for role in roles if "secretmanager" in role]
    [rule] = [
        each["deny_rule"] for each in foundation.one("google_iam_deny_policy")["rules"] if apply in str(each)
    ]
    assert rule["denied_permissions"] == ["secretmanager.googleapis.com/versions.access"]


def test_apply_may_grant_nothing_on_the_project_but_to_run_queries(synthesis: Synthesis) -> None:
    """What accounts may do there, `foundation` grants, which a person applies."""
    for name in ("dev", "staging", "prod"):
        admin = synthesis.stack(f"{name}-foundation").one(
            "google_project_iam_member", role="roles/resourcemanager.projectIamAdmin"
        )
        assert admin["condition"]["expression"].endswith(".hasOnly(['roles/bigquery.jobUser'])")


def test_without_ci_there_is_no_way_in(synthesis: Synthesis) -> None:
    local = synthesis.stack("local-foundation")
    local.none("google_iam_workload_identity_pool")
    local.none("google_project_iam_member", role="roles/resourcemanager.projectIamAdmin")
    local.none("google_project_iam_custom_role")


def test_accounts_wait_for_the_apis_that_make_them(synthesis: Synthesis) -> None:
    """Roles do as well; grants follow the accounts."""
    foundation = synthesis.stack("prod-foundation")
    apis = [
        foundation.address("google_project_service", service=f"{api}.googleapis.com")
        for api in ("cloudresourcemanager", "iam")
    ]
    for role in foundation.all("google_project_iam_custom_role").values():
        assert role["depends_on"] == apis
    for account in foundation.all("google_service_account").values():
        assert {*apis} <= {*account["depends_on"]}


def test_only_foundation_which_a_person_applies_makes_accounts_and_says_who_acts_as_them(
    synthesis: Synthesis, variants: Synthesis
) -> None:
    """Else CI needs the rights to, on all accounts of the project: it could act as any of them."""
    for stack in (*synthesis.stacks, *variants.stacks):
        if not stack.id.endswith("-foundation"):
            stack.none("google_service_account")
            stack.none("google_service_account_iam_member")
    accounts = synthesis.stack("prod-foundation").all("google_service_account").values()
    names = {each["account_id"].removeprefix("sales-forecast-") for each in accounts}
    assert names == {"ci-plan", "ci-apply", "nodes", "copies", "airflow", "dataflow", "starter"}
