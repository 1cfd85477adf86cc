"""The changes in a plan, from Terraform's JSON: complete, and without sensitive values."""

from typing import Any

import pytest

from scripts.deployment.plan_changes import SENSITIVE, UNKNOWN, Change, changed_outputs, changes, drift


def plan(actions: list[str], before: Any, after: Any, **more: Any) -> dict[str, Any]:
    """The plan of one resource."""
    change = {"actions": actions, "before": before, "after": after}
    change |= {key: value for key, value in more.items() if key not in ("previous_address", "deposed")}
    return {"resource_changes": [{"address": "google_x.y", "change": change, **more}]}


def update(before: Any, after: Any, **more: Any) -> list[tuple[str, str, str]]:
    """Path and both texts of what an update changes."""
    [change] = changes(plan(["update"], before, after, **more))
    return [(each.path, each.before, each.after) for each in change.differences]


@pytest.mark.parametrize(
    ("actions", "action"),
    [
        (["create"], "create"),
        (["update"], "update"),
        (["delete", "create"], "replace"),
        (["create", "delete"], "replace"),
        (["delete"], "destroy"),
        (["forget"], "forget"),
    ],
)
def test_action(actions: list[str], action: str) -> None:
    [change] = changes(plan(actions, {"a": 1}, {"a": 2}))
    assert (change.address, change.action) == ("google_x.y", action)


def test_a_move_alone_and_with_a_change() -> None:
    [moved] = changes(plan(["no-op"], {"a": 1}, {"a": 1}, previous_address="google_x.old"))
    assert moved == Change("google_x.y", "move", "", "google_x.old", ())
    [changed] = changes(plan(["update"], {"a": 1}, {"a": 2}, previous_address="google_x.old"))
    assert (changed.action, changed.moved_from) == ("update", "google_x.old")


def test_an_import_and_a_deposed_object() -> None:
    [imported] = changes(plan(["no-op"], {"a": 1}, {"a": 1}, importing={"id": "x"}))
    assert imported.action == "import"
    [deposed] = changes(plan(["delete"], {"a": 1}, None, deposed="3a7f"))
    assert deposed.address == "google_x.y (deposed 3a7f)"


def test_unchanged_resources_and_values_are_left_out() -> None:
    assert changes(plan(["no-op"], {"a": 1}, {"a": 1})) == ()
    assert update({"a": 1, "b": 2}, {"a": 1, "b": 3}) == [("b", "2", "3")]


def test_the_smallest_parts_that_differ() -> None:
    before = {"spec": [{"labels": {"app/name": "x", "b": "1"}, "size": 1}], "zones": ["a", "b"]}
    after = {"spec": [{"labels": {"app/name": "y", "b": "1"}, "size": None}], "zones": ["a", "c"]}
    assert update(before, after) == [
        ('spec[0].labels["app/name"]', '"x"', '"y"'),
        ("spec[0].size", "1", "null"),
        ("zones", '["a", "b"]', '["a", "c"]'),
    ]


def test_blocks_without_an_order() -> None:
    one, two, three = {"name": "one"}, {"name": "two"}, {"name": "three"}
    assert update({"rule": [one, two]}, {"rule": [two, three]}) == [("rule[1].name", '"one"', '"three"')]
    assert update({"rule": [one]}, {"rule": [one, two]}) == [("rule[1]", "null", '{"name": "two"}')]
    assert update({"rule": [one, two]}, {"rule": [two]}) == [("rule[0]", '{"name": "one"}', "null")]
    assert [path for path, _, _ in update({"rule": [one, two]}, {"rule": [two, one]})] == ["rule"]
    assert [path for path, _, _ in update({"rule": [one, one]}, {"rule": [one]})] == ["rule"]


def test_json_stored_as_text_is_compared_by_part() -> None:
    before = {"schema": '[{"name": "date", "mode": "REQUIRED"}]'}
    after = {"schema": '[{"mode": "NULLABLE", "name": "date"}]'}
    assert update(before, after) == [("schema[0].mode", '"REQUIRED"', '"NULLABLE"')]
    assert update({"schema": "[1]"}, {"schema": "[1 ]"}) == [("schema", '"[1]"', '"[1 ]"')]
    assert update({"schema": "[1]"}, {"schema": "no JSON"}) == [("schema", '"[1]"', '"no JSON"')]


def test_a_new_resource_shows_what_is_set_or_not_known() -> None:
    after = {"name": "x", "labels": None, "rule": [], "block": [{"size": 1}]}
    unknown = {"id": True, "rule": [], "block": [{"etag": True}]}
    [change] = changes(plan(["create"], None, after, after_unknown=unknown))
    assert [(each.path, each.after) for each in change.differences] == [
        ("block[0].etag", UNKNOWN),
        ("block[0].size", "1"),
        ("id", UNKNOWN),
        ("name", '"x"'),
    ]


def test_values_known_after_apply() -> None:
    assert update({"id": "1", "ips": ["a"]}, {"ips": [None]}, after_unknown={"id": True, "ips": [True]}) == [
        ("id", '"1"', UNKNOWN),
        ("ips", '["a"]', UNKNOWN),
    ]


SECRET, OTHER = "hunter2", "correct horse"


@pytest.mark.parametrize(
    ("before", "after", "before_sensitive", "after_sensitive"),
    [
        # a value, on either side or both
        ({"a": SECRET}, {"a": OTHER}, {"a": True}, {"a": True}),
        ({"a": SECRET}, {"a": OTHER}, {}, {"a": True}),
        ({"a": SECRET}, {"a": OTHER}, {"a": True}, {}),
        # everything
        ({"a": SECRET}, {"a": OTHER}, True, True),
        # inside blocks, maps and lists of values
        ({"a": [{"b": SECRET}]}, {"a": [{"b": OTHER}]}, {"a": [{"b": True}]}, {"a": [{"b": True}]}),
        ({"a": {"b": SECRET}}, {"a": {"b": OTHER}}, {"a": {"b": True}}, {"a": {"b": True}}),
        ({"a": ["x", SECRET]}, {"a": ["x", OTHER]}, {"a": [False, True]}, {"a": [False, True]}),
        # blocks that are added or removed
        ({"a": []}, {"a": [{"b": SECRET}]}, {"a": []}, {"a": [{"b": True}]}),
        ({"a": [{"b": SECRET}]}, {"a": []}, {"a": [{"b": True}]}, {"a": []}),
        ({"a": None}, {"a": [{"b": SECRET}]}, {}, {"a": [{"b": True}]}),
        (
            {"a": [{"b": SECRET}, {"b": OTHER}]},
            {"a": [{"b": OTHER}]},
            {"a": [{"b": True}, {"b": True}]},
            {"a": [{"b": True}]},
        ),
        # of another type than before
        ({"a": {"b": SECRET}}, {"a": [OTHER]}, {"a": {"b": True}}, {"a": [True]}),
        # JSON stored as text
        ({"a": f'{{"b": "{SECRET}"}}'}, {"a": f'{{"b": "{OTHER}"}}'}, {"a": True}, {"a": True}),
    ],
)
def test_sensitive_values_are_not_shown(
    before: Any, after: Any, before_sensitive: Any, after_sensitive: Any
) -> None:
    marks = {"before_sensitive": before_sensitive, "after_sensitive": after_sensitive}
    for actions in (["update"], ["delete", "create"]):
        [change] = changes(plan(actions, before, after, **marks))
        assert change.differences
        assert SECRET not in repr(change)
        assert OTHER not in repr(change)
        assert any(each.sensitive for each in change.differences)
    for actions in (["create"], ["delete"]):
        shown = repr(changes(plan(actions, before, after, **marks)))
        assert SECRET not in shown
        assert OTHER not in shown


def test_an_unchanged_sensitive_value_is_left_out() -> None:
    marks = {"before_sensitive": {"a": True}, "after_sensitive": {"a": True}}
    assert update({"a": SECRET, "b": 1}, {"a": SECRET, "b": 2}, **marks) == [("b", "1", "2")]
    unknown = {"after_unknown": {"a": True}}
    assert update({"a": SECRET}, {}, **marks, **unknown) == [("a", SENSITIVE, SENSITIVE)]


def test_what_forces_a_replacement() -> None:
    before, after = (
        {"name": "a", "spec": [{"size": 1, "zone": "x"}]},
        {"name": "b", "spec": [{"size": 2, "zone": "y"}]},
    )
    document = plan(["delete", "create"], before, after, replace_paths=[["spec", 0, "zone"]])
    document["resource_changes"][0]["action_reason"] = "replace_because_cannot_update"
    [change] = changes(document)
    assert {each.path: each.forces_replacement for each in change.differences} == {
        "name": False,
        "spec[0].size": False,
        "spec[0].zone": True,
    }
    assert change.reason == "replace because cannot update"


def test_drift_is_separate() -> None:
    drifted = plan(["update"], {"a": 1}, {"a": 2})["resource_changes"]
    document = {"resource_changes": [], "resource_drift": drifted}
    assert changes(document) == ()
    [change] = drift(document)
    assert change.address == "google_x.y"


def test_changed_outputs() -> None:
    outputs = {"new": {"actions": ["create"]}, "same": {"actions": ["no-op"]}}
    assert changed_outputs({"output_changes": outputs}) == {"new"}
