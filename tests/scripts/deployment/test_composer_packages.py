"""The PyPI packages of Composer are resolved before anything is applied."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import environment
from scripts.command import CommandError, NoAnswerError
from scripts.deployment import composer_packages
from scripts.deployment.composer_packages import resolve


def resolved(packages: dict[str, str]) -> int:
    try:
        return resolve(packages)
    except NoAnswerError as error:
        pytest.skip(f"the package index does not answer: {error}")


def test_the_committed_environments_resolve() -> None:
    distinct = {frozenset(each.composer.packages.items()) for each in environment.load_all()}
    with ThreadPoolExecutor() as pool:
        for count in pool.map(resolve, map(dict, distinct)):
            assert count > 100


def test_a_package_that_conflicts_with_airflow_is_refused() -> None:
    with pytest.raises(CommandError, match="sqlalchemy"):
        resolved({"sqlalchemy": "==1.3.24"})


def test_an_index_that_does_not_answer_is_not_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(NoAnswerError):
        resolve({})
    assert composer_packages.main([]) == 3
