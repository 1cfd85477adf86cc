"""A container's limits, in the files by which Linux tells them, and a real process under one of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.forecasting.cgroup import memory, processors
from tests.conftest import REPOSITORY

MACHINE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cpu", "memory_max", "expected"),
    [
        ("100000 100000", "1073741824", (1, 1 << 30)),
        ("50000 100000", "max", (1, memory(Path("/nowhere")))),
        ("max 100000", "9223372036854771712", (MACHINE, memory(Path("/nowhere")))),
    ],
)
def test_limits_of_a_container(tmp_path: Path, cpu: str, memory_max: str, expected: tuple[int, int]) -> None:
    (tmp_path / "cpu.max").write_text(f"{cpu}\n")
    (tmp_path / "memory.max").write_text(f"{memory_max}\n")
    assert (processors(tmp_path), memory(tmp_path)) == expected


def test_steps_have_as_many_threads_as_processors() -> None:
    """Polars counts those of the machine, whatever the process may use."""
    program = "import services.batch, polars; print(polars.thread_pool_size())"
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {program}",
        ],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if "THREADS" not in name},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found == "1\n"
