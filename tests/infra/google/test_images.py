"""The digest that stands for an image in a simulated cloud."""

import re
from pathlib import Path

import pytest

from infra.google.images import source_digest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in (
        "services/runtime.py",
        "services/contracts/names.py",
        "services/forecasting/forecast.py",
        "services/http/server.py",
        "services/prediction/__main__.py",
        "services/streaming/__main__.py",
        "services/prediction/requirements.lock",
        "services/Dockerfile",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("services/prediction/__main__.py", True),
        ("services/prediction/chart/index.html", True),
        ("services/contracts/names.py", True),
        ("services/forecasting/forecast.py", True),
        ("services/http/server.py", True),
        ("services/runtime.py", True),
        ("services/prediction/requirements.lock", True),
        ("services/Dockerfile", True),
        ("services/streaming/__main__.py", False),
        ("services/prediction/__pycache__/__main__.cpython-311.pyc", False),
    ],
)
def test_a_service_rolls_out_when_its_code_changes(root: Path, file: str, changes: bool) -> None:
    before = source_digest(root, "prediction")
    assert re.fullmatch("sha256:[0-9a-f]{64}", before)
    assert source_digest(root, "prediction") == before
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("changed")
    assert (source_digest(root, "prediction") != before) is changes


def test_a_service_without_a_folder_has_no_image(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="services/batch"):
        source_digest(root, "batch")
