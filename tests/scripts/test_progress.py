"""What somebody who waits for a long step sees."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from scripts.progress import Progress


def test_name_elapsed_time_and_what_it_took_last_time(tmp_path: Path) -> None:
    durations = tmp_path / "logs" / "durations.json"
    durations.parent.mkdir()
    durations.write_text(json.dumps({"training": 41.6, "other": 3}))
    screen = io.StringIO()
    progress = Progress(Console(file=screen, force_terminal=True, width=100, color_system=None), durations)
    with progress.of("training") as tell:
        tell("[fold 3]")
    shown = screen.getvalue()
    assert "training last time 42 s; [fold 3] 0:00:00" in shown
    assert "✓ training 0.0 s" in shown
    assert json.loads(durations.read_text()) == {"training": progress.taken["training"], "other": 3}


def test_a_failed_step_is_not_remembered(tmp_path: Path) -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file), tmp_path / "durations.json")
    with pytest.raises(ValueError, match="too few"), progress.of("training"):
        raise ValueError("too few")
    assert progress.taken == {}
    assert list(tmp_path.iterdir()) == []
    assert file.getvalue() == "", "a log has no spinner"
