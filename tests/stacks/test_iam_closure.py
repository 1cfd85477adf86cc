"""Every need has its grant and every grant its need; the document is current."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from infra import environment
from tests.stacks import iam_document
from tests.stacks.iam_closure import faults, grants
from tests.stacks.iam_graph import Graph, Permission, UnknownEdgeError
from tests.stacks.iam_needs import ACCESS, needs
from tests.stacks.iam_reach import DECLARED, PERMISSIONS, excess, reach, short, users
from tests.stacks.synthesized import Synthesis


@pytest.fixture
def prod(synthesis: Synthesis) -> Graph:
    return Graph.read(environment.load("prod"), synthesis.folder)


def variant(variants: Synthesis, name: str) -> Graph:
    return Graph.read(environment.load(name, directory=variants.folder.parent), variants.folder)


def changed(graph: Graph, kind: str, **arguments: Any) -> Graph:
    """The graph with these arguments in all resources of a type."""
    return dataclasses.replace(
        graph,
        resources=tuple(
            (each[0], each[1], {**each[2], **arguments}) if each[0] == kind else each
            for each in graph.resources
        ),
    )


@pytest.mark.parametrize("name", environment.names())
def test_grants_are_what_is_needed(synthesis: Synthesis, name: str) -> None:
    graph = Graph.read(environment.load(name), synthesis.folder)
    assert faults(needs(graph), grants(graph)) == []


@pytest.mark.parametrize("name", ["pushed", "closed", "paged"])
def test_grants_of_other_settings_are_what_is_needed(variants: Synthesis, name: str) -> None:
    graph = variant(variants, name)
    assert faults(needs(graph), grants(graph)) == []


def test_each_setting_brings_its_grants(variants: Synthesis) -> None:
    roles = {each.role for each in grants(variant(variants, "pushed"))}
    assert "roles/iam.serviceAccountTokenCreator" in roles
    assert "roles/iap.httpsResourceAccessor" not in roles
    secrets = {each.name for each in grants(variant(variants, "paged")) if each.kind == "secret"}
    assert secrets == {f"airflow-connections-{id_}_default" for id_ in ("smtp", "pagerduty")}


def test_every_missing_grant_is_found(prod: Graph) -> None:
    granted = grants(prod)
    assert len(granted) > 15
    for gone in granted:
        (fault,) = faults(needs(prod), {each: at for each, at in granted.items() if each != gone})
        assert fault.startswith(f"missing: {gone}, for ")


def test_every_unused_grant_is_found(prod: Graph) -> None:
    granted = grants(prod)
    for each in granted:
        for more in (
            dataclasses.replace(each, role="roles/owner"),
            dataclasses.replace(each, member="user:somebody@example.com"),
            dataclasses.replace(each, kind="bucket", name="somebody-elses"),
        ):
            (fault,) = faults(needs(prod), {**granted, more: ["here"]})
            assert fault == f"unused: {more} (here)"


def test_a_grant_made_twice_is_found(prod: Graph) -> None:
    granted: Mapping[Permission, list[str]] = grants(prod)
    first = next(iter(granted))
    twice = {**granted, first: ["here", "there"]}
    assert faults(needs(prod), twice) == [f"twice: {first} (here, there)"]


def test_a_changed_resource_changes_the_needs(prod: Graph) -> None:
    """The needs follow the resources, not the grants."""
    other = "projects/sales-forecast-prod/topics/sale-predictions"
    moved = changed(prod, "google_pubsub_subscription", dead_letter_policy={"dead_letter_topic": other})
    found = "\n".join(faults(needs(moved), grants(moved)))
    publishes = f"{prod.agent('gcp-sa-pubsub')}: roles/pubsub.publisher on topic"
    assert f"missing: {publishes} sale-predictions" in found
    assert f"unused: {publishes} sale-range-dead-letter" in found


def test_an_undeclared_edge_is_refused(prod: Graph) -> None:
    (deployment, *_) = prod.all("kubernetes_deployment_v1")
    container = deployment["spec"]["template"]["spec"]["container"][0]
    variable = {"name": "ELSEWHERE", "value": "projects/sales-forecast-prod/topics/sale-range"}
    container = {**container, "env": [*container["env"], variable]}
    pod = {**deployment["spec"]["template"]["spec"], "container": [container]}
    spec = {**deployment["spec"], "template": {"spec": pod}}
    with pytest.raises(UnknownEdgeError, match="ELSEWHERE names the topic sale-range; add it to ACCESS"):
        needs(changed(prod, "kubernetes_deployment_v1", spec=spec))


def test_a_grant_of_an_unknown_type_is_refused(prod: Graph) -> None:
    more = ("google_cloud_run_v2_service_iam_member", "here", {"member": "m", "role": "r"})
    with pytest.raises(UnknownEdgeError, match="here: no rule for grants of this type"):
        grants(dataclasses.replace(prod, resources=(*prod.resources, more)))


@pytest.mark.parametrize("name", environment.names())
def test_the_permissions_of_every_granted_role_are_known(synthesis: Synthesis, name: str) -> None:
    graph = Graph.read(environment.load(name), synthesis.folder)
    assert {each.role for each in grants(graph) if each.role.startswith("roles/")} <= PERMISSIONS.keys()


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_nobody_but_ci_changes_more_than_it_needs(synthesis: Synthesis, name: str) -> None:
    assert excess(Graph.read(environment.load(name), synthesis.folder)) == []


def test_what_the_deny_policy_takes_away_is_found_without_it(prod: Graph) -> None:
    kept = tuple(each for each in prod.resources if each[0] != "google_iam_deny_policy")
    found = excess(dataclasses.replace(prod, resources=kept))
    assert {
        "airflow: container.pods.exec",
        "airflow: container.secrets.get",
        "airflow: artifactregistry.repositories.uploadArtifacts",
        "airflow: pubsub.subscriptions.consume",
    } <= {*found}


def test_no_account_but_cis_can_set_a_policy_or_act_as_another(prod: Graph) -> None:
    able = {
        short(each.member)
        for each in reach(prod)
        if each.permission.endswith("setIamPolicy") or each.permission.endswith(".*")
    }
    assert able == {"ci-apply"}
    acting = {
        (short(each.member), short(each.name))
        for each in reach(prod)
        if each.permission in ("iam.serviceAccounts.actAs", "iam.serviceAccounts.getAccessToken")
    }
    workflows = {("apply", "ci-apply"), ("plan", "ci-plan")}
    started = {("airflow", "dataflow"), ("airflow", "starter")}
    assert acting == workflows | started | {("ci-apply", each) for each in ("airflow", "copies", "nodes")}


def test_each_bucket_has_its_users_and_no_others(prod: Graph) -> None:
    assert {name.removeprefix("sales-forecast-prod-"): who for name, who in users(prod).items()} == {
        "airflow": {"airflow", "ci-apply", "ci-plan"},
        "airflow-snapshots": {"airflow", "ci-apply"},
        "data": {"ci-apply"},
        "models": {"batch", "ci-apply", "dataflow", "prediction", "streaming"},
        "staging": {"batch", "ci-apply", "dataflow"},
        "tfstate": {"ci-apply", "ci-plan"},
    }


def test_without_deny_policy_or_condition_every_bucket_is_open(prod: Graph) -> None:
    """Airflow's role and Dataflow's read the objects of every bucket."""
    kept = tuple(each for each in prod.resources if each[0] != "google_iam_deny_policy")
    opened = users(dataclasses.replace(prod, resources=kept))
    assert all("airflow" in who for who in opened.values())
    free = tuple(
        (kind, at, {name: value for name, value in each.items() if name != "condition"})
        for kind, at, each in prod.resources
    )
    assert all("dataflow" in who for who in users(dataclasses.replace(prod, resources=free)).values())


def test_airflow_loses_its_buckets_without_their_tag(prod: Graph) -> None:
    kept = tuple(each for each in prod.resources if each[0] != "google_tags_location_tag_binding")
    closed = users(dataclasses.replace(prod, resources=kept))
    assert not any("airflow" in who for who in closed.values())


def test_every_declared_excess_is_there(prod: Graph) -> None:
    there = {(short(each.member), each.permission) for each in reach(prod) if each.kind == "project"}
    for account, permission in DECLARED:
        assert any(account in ("*", who) and permission == each for who, each in there), (account, permission)


def test_every_declared_access_is_used(prod: Graph, synthesis: Synthesis, variants: Synthesis) -> None:
    dev = Graph.read(environment.load("dev"), synthesis.folder)
    reasons = {
        reason
        for graph in (prod, dev, variant(variants, "pushed"))
        for each in needs(graph).values()
        for reason in each
    }
    declared = {f"`{variable}` of {who}" for who, variables in ACCESS.items() for variable in variables}
    assert declared <= reasons


def test_the_document_is_current(prod: Graph) -> None:
    assert iam_document.DOCUMENT.read_text(encoding="utf-8") == iam_document.document(prod), "run `make docs`"
