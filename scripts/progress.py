"""Progress of long steps: what is going on, elapsed time, and what it took last time."""

import contextlib
import json
import time
from collections.abc import Callable, Generator
from pathlib import Path

from rich import progress
from rich.console import Console
from rich.markup import escape

from scripts.paths import ROOT


class Progress:
    """Shows steps on a console while they run, and remembers in a file how long each took."""

    def __init__(
        self, console: Console, durations: Path = ROOT / "build" / "logs" / "durations.json"
    ) -> None:
        self._console = console
        self._durations = durations
        self.taken: dict[str, float] = {}

    @contextlib.contextmanager
    def of(self, name: str) -> Generator[Callable[[str], None]]:
        """A step, until the block ends; one that raises is not remembered. Yields what tells more of it."""
        before = self._remembered()
        usual = f"last time {before[name]:.0f} s" if name in before else ""
        text = progress.TextColumn("{task.description}")
        columns = (progress.SpinnerColumn(), text, progress.TimeElapsedColumn())
        started = time.monotonic()
        with progress.Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_interactive
        ) as shown:
            task = shown.add_task(f"{escape(name)} [dim]{usual}[/]", total=None)

            def tell(text: str) -> None:
                hint = escape("; ".join(filter(None, (usual, text))))
                shown.update(task, description=f"{escape(name)} [dim]{hint}[/]")

            yield tell
        self.taken[name] = time.monotonic() - started
        self._durations.parent.mkdir(parents=True, exist_ok=True)
        self._durations.write_text(json.dumps(self._remembered() | self.taken, indent=1))
        self.note(name, f"{self.taken[name]:.1f} s")

    def _remembered(self) -> dict[str, float]:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._durations.read_text())
        return {}

    def note(self, name: str, text: str) -> None:
        """Print that something is done."""
        self._console.print(f"[green]✓[/] {name} [dim]{escape(text)}[/]", highlight=False, soft_wrap=True)
