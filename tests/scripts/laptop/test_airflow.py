"""What somebody who waits for the pipeline sees; tests/batch runs it."""

import contextlib
import copy
import functools
import io
import re
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scripts.laptop import airflow
from scripts.progress import Progress


class Stub:
    """An Airflow whose runs end once somebody has asked what they do."""

    folder = Path()

    def __init__(self, *_: object) -> None:
        self.asked = False

    def prepare(self) -> None:
        pass

    def now(self) -> str:
        self.asked = True
        return "train of manual__2024"

    def try_run(self, *_: object) -> str:
        while not self.asked:
            time.sleep(0.01)
        return "manual__2024"

    def plan(self, *_: object) -> int:
        return 1

    @contextlib.contextmanager
    def running(self) -> Generator[str]:
        yield "http://127.0.0.1:8793"

    def finish(self, _: int, tell: Callable[[str], None]) -> list[str]:
        tell(self.now())
        return ["manual__2024"]

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        return {"train": {"state": "success", "tries": 1, "seconds": 3.0, "result": {"version": run_id}}}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["pipeline", "--date", "2024-07-02"], "pipeline"),
        (["backfill", "2024-07-01", "2024-07-03"], "backfill of 3 days"),
    ],
)
def test_the_running_task_is_told_until_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(airflow, "Console", lambda: console)
    monkeypatch.setattr(
        airflow, "Progress", functools.partial(Progress, durations=tmp_path / "durations.json")
    )
    monkeypatch.setattr(airflow, "Airflow", Stub)
    monkeypatch.setattr(airflow, "use_environment", copy.copy)
    monkeypatch.setattr(sys, "argv", ["airflow", *arguments])
    assert airflow.main() == 0
    shown = screen.getvalue()
    assert re.search(rf"{name} train of manual__2024 0:00:\d\d", shown)
    assert f"✓ {name} " in shown
    assert "success" in shown
