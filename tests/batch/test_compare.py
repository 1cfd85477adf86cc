"""Which version is published, and which one a day is scored with."""

import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from services.batch import compare
from tests.batch.conftest import Run, amend
from tests.conftest import Models

FIRST = datetime.date(2024, 6, 1)


@pytest.fixture
def trained(models: Models) -> Models:
    """Four versions: v1, v2 and v3 of one day more of sales each, v2 the worst; v2b of the sales of v2."""
    for name, day, mase in (("v1", 0, 0.5), ("v2", 1, 0.6), ("v2b", 1, 0.595), ("v3", 2, 0.5)):
        models.upload(name)
        sales = {"last_date": FIRST + datetime.timedelta(days=day), "data_fingerprint": name[:2]}
        amend(models, name, mase=mase, **sales)
    return models


def judged(run: Run, version: str, *options: object) -> tuple[Any, ...]:
    found = run(compare.main, "--version", version, *options)
    return found["verdict"], found["score_with"]


def test_the_first_version_is_published(trained: Models, run: Run) -> None:
    found = run(compare.main, "--version", "v1")
    assert found == {
        "version": "v1",
        "current": None,
        "verdict": "publish",
        "reason": "nothing is published yet",
        "score_with": "v1",
        "generation": 0,
        "errors": {"v1": 0.5556},
    }


@pytest.mark.parametrize(
    ("published", "version", "verdict", "reason"),
    [
        ("v1", "v1", "keep", "v1 is published already"),
        ("v3", "v1", "keep", "its sales end on 2024-06-01, those of the published v3 on 2024-06-03"),
        ("v1", "v3", "publish", "on other sales at most 0.5667 is taken"),
        (
            "v1",
            "v2",
            "reject",
            "its error is 0.6667 of the seasonal naive's, that of the published v1 0.5556",
        ),
        ("v2", "v2b", "reject", "on the same sales at most 0.6533 is taken"),
    ],
    ids=["same", "older", "newer", "worse", "challenger"],
)
def test_what_becomes_of_a_version(
    trained: Models, run: Run, published: str, version: str, verdict: str, reason: str
) -> None:
    trained.registry.publish(published)
    found = run(compare.main, "--version", version)
    assert found["verdict"] == verdict
    assert reason in found["reason"]
    assert found["score_with"] == (published if verdict == "reject" else version)


def test_a_level_that_only_one_has_does_not_count(trained: Models) -> None:
    """Versions of before had no score of the series."""
    old = trained.registry.manifest("v1")
    levels = {**old.backtest.model, "series": replace(old.backtest.model["total"], mase=99.0)}
    naive = {**old.backtest.seasonal_naive, "series": old.backtest.seasonal_naive["total"]}
    new = replace(old, backtest=replace(old.backtest, model=levels, seasonal_naive=naive))
    assert compare.error(new, old) == compare.error(old, new) == compare.error(old, old)
    assert compare.error(new, new) > 50


def test_a_refused_day_keeps_its_version_when_others_are_published(trained: Models, run: Run) -> None:
    trained.registry.publish("v1")
    assert judged(run, "v2") == ("reject", "v1")
    assert judged(run, "v3") == ("publish", "v3")
    trained.registry.publish("v3")
    assert judged(run, "v2") == ("keep", "v1")
    assert judged(run, "v1") == ("keep", "v1")
    trained.registry.publish("v2b")  # later, by hand, on the same sales as v2
    assert judged(run, "v2") == ("reject", "v1")


def test_a_refused_version_that_is_taken_after_all_scores_its_day(trained: Models, run: Run) -> None:
    trained.registry.publish("v1")
    assert judged(run, "v2") == ("reject", "v1")
    assert judged(run, "v2", "--margin", 0.3) == ("publish", "v2")
    trained.registry.publish("v3")
    assert judged(run, "v2") == ("keep", "v2")


def test_a_dry_run_decides_nothing(trained: Models, run: Run) -> None:
    trained.registry.publish("v1")
    assert judged(run, "v2", "--dry-run", "true") == ("reject", "v1")
    assert trained.registry.decision("v2") is None
    judged(run, "v2")
    decision = trained.registry.decision("v2")
    assert decision is not None
    assert decision.score_with == "v1"
    assert "at most" in decision.reason


def test_a_broken_decision_is_an_error(trained: Models, run: Run) -> None:
    trained.bucket.blob("sales/v1/decision.json").upload_from_string(b"{}")
    message = run(compare.main, "--version", "v1", fails=1)["error"]
    assert message.startswith("compare: sales/v1/decision.json: ")
