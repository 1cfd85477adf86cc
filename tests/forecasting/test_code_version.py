"""The version of the training code."""

from pathlib import Path

import pytest

from services.forecasting import training


def test_every_module_that_training_imports_counts() -> None:
    sources, libraries = training.imports()
    names = {file.relative_to(Path(training.__file__).parents[1]).as_posix() for file in sources}
    assert {"forecasting/training.py", "forecasting/baselines.py", "contracts/model.py"} < names
    assert "forecasting/model_registry.py" not in names
    assert {"lightgbm", "numpy", "polars"} < libraries


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small training in place of the real one, whose versions are not cached."""
    folder = tmp_path / "services" / "forecasting"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "training.py").write_text("import numpy\nfrom services.forecasting import helper\n")
    (folder / "helper.py").write_text("ALPHA = 1\n")
    (folder / "other.py").write_text("BETA = 1\n")
    monkeypatch.setattr(training, "_ROOT", tmp_path)
    monkeypatch.setattr(training, "code_version", training.code_version.__wrapped__)
    return folder


def test_an_edit_of_an_imported_module_is_another_version(copy: Path) -> None:
    before = training.code_version()
    (copy / "other.py").write_text("BETA = 2\n")
    assert training.code_version() == before
    (copy / "helper.py").write_text("ALPHA = 2\n")
    assert training.code_version() != before


def test_another_version_of_a_library_is_another_version(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = training.code_version()

    def version(_: str) -> str:
        return "0.0"

    monkeypatch.setattr(training.metadata, "version", version)
    assert training.code_version() != before
