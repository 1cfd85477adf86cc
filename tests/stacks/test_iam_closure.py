"""Every need has its grant, every grant its need, and the document says so."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from infra import environment
from scripts.deploy import iam
from scripts.deploy.iam import ACCESS, Graph, Permission, UnknownEdgeError
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
    assert iam.faults(iam.needs(graph), iam.grants(graph)) == []


@pytest.mark.parametrize("name", ["pushed", "queued", "paged"])
def test_grants_are_what_other_choices_need(variants: Synthesis, name: str) -> None:
    graph = variant(variants, name)
    assert iam.faults(iam.needs(graph), iam.grants(graph)) == []


def test_each_choice_brings_its_grants(variants: Synthesis) -> None:
    roles = {each.role for each in iam.grants(variant(variants, "pushed"))}
    assert roles >= {"roles/iam.serviceAccountTokenCreator", "roles/iap.httpsResourceAccessor"}
    secrets = {each.on[1] for each in iam.grants(variant(variants, "paged")) if each.on[0] == "secret"}
    assert secrets == {f"airflow-connections-{id_}_default" for id_ in ("smtp", "pagerduty")}


def test_any_grant_that_is_missing_shows(prod: Graph) -> None:
    granted = iam.grants(prod)
    assert len(granted) > 15
    for gone in granted:
        (fault,) = iam.faults(iam.needs(prod), {each: at for each, at in granted.items() if each != gone})
        assert fault.startswith(f"missing: {gone}, for ")


def test_any_grant_that_nobody_needs_shows(prod: Graph) -> None:
    granted = iam.grants(prod)
    for each in granted:
        for more in (
            dataclasses.replace(each, role="roles/owner"),
            dataclasses.replace(each, member="user:somebody@example.com"),
            dataclasses.replace(each, on=("bucket", "somebody-elses")),
        ):
            (fault,) = iam.faults(iam.needs(prod), {**granted, more: ["here"]})
            assert fault == f"unused: {more} (here)"


def test_a_grant_made_twice_shows(prod: Graph) -> None:
    granted: Mapping[Permission, list[str]] = iam.grants(prod)
    first = next(iter(granted))
    twice = {**granted, first: ["here", "there"]}
    assert iam.faults(iam.needs(prod), twice) == [f"twice: {first} (here, there)"]


def test_what_a_resource_comes_to_need_is_missed(prod: Graph) -> None:
    """The needs follow the resources, not the grants."""
    other = "projects/sales-forecast-prod/topics/sale-predictions"
    moved = changed(prod, "google_pubsub_subscription", dead_letter_policy={"dead_letter_topic": other})
    faults = iam.faults(iam.needs(moved), iam.grants(moved))
    assert f"missing: {prod.pubsub}: roles/pubsub.publisher on topic sale-predictions" in "\n".join(faults)
    assert f"unused: {prod.pubsub}: roles/pubsub.publisher on topic sale-range-dead-letter" in "\n".join(
        faults
    )


def test_an_edge_that_nobody_declared_is_refused(prod: Graph) -> None:
    (deployment, *_) = prod.all("kubernetes_deployment_v1")
    container = deployment["spec"]["template"]["spec"]["container"][0]
    variable = {"name": "ELSEWHERE", "value": "projects/sales-forecast-prod/topics/sale-range"}
    container = {**container, "env": [*container["env"], variable]}
    pod = {**deployment["spec"]["template"]["spec"], "container": [container]}
    spec = {**deployment["spec"], "template": {"spec": pod}}
    with pytest.raises(UnknownEdgeError, match="ELSEWHERE names the topic sale-range; add it to ACCESS"):
        iam.needs(changed(prod, "kubernetes_deployment_v1", spec=spec))


def test_a_grant_of_an_unknown_type_is_refused(prod: Graph) -> None:
    more = ("google_cloud_run_v2_service_iam_member", "here", {"member": "m", "role": "r"})
    with pytest.raises(UnknownEdgeError, match="here: no rule for grants of this type"):
        iam.grants(dataclasses.replace(prod, resources=(*prod.resources, more)))


def test_nothing_is_declared_in_vain(prod: Graph, variants: Synthesis) -> None:
    reasons = {
        reason
        for graph in (prod, variant(variants, "pushed"))
        for each in iam.needs(graph).values()
        for reason in each
    }
    declared = {f"`{variable}` of {who}" for who, variables in ACCESS.items() for variable in variables}
    assert declared <= reasons


def test_the_document_is_current(prod: Graph) -> None:
    assert iam.DOCUMENT.read_text(encoding="utf-8") == iam.document(prod), "run `make docs`"
