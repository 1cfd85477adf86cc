"""A container's limits, in the files by which Linux tells them, and a real process under one of them."""

import datetime
import functools
import os
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from services.forecasting import backtest
from services.forecasting.cgroup import memory, processors
from services.forecasting.panel import Fitted, Panel
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


PROGRAM = """
import importlib, os, pathlib, sys
import services
from services.forecasting import cgroup

for name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS"):
    del os.environ[name]
cgroup.processors.__defaults__ = (pathlib.Path(sys.argv[1]),)
importlib.reload(services)
import numpy
own = len(os.listdir("/proc/self/task"))  # with those of OpenBLAS
import polars
print(own, polars.thread_pool_size())
"""


@pytest.mark.skipif(MACHINE < 2, reason="one processor has nothing to bound")
@pytest.mark.parametrize("limit", [1, 2])
def test_libraries_have_as_many_threads_as_processors(tmp_path: Path, limit: int) -> None:
    """They count those of the machine, whatever the container may use: services and steps alike."""
    (tmp_path / "cpu.max").write_text(f"{limit}00000 100000\n")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert found.split() == [str(limit), str(limit)]


@pytest.mark.parametrize(
    ("cpu", "memory_max", "side_by_side"),
    [("400000 100000", "max", 4), ("200000 100000", "max", 2), ("400000 100000", "40000000", 1)],
    ids=["four processors", "two", "memory for one"],
)
def test_training_fits_models_side_by_side_as_the_container_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str, memory_max: str, side_by_side: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{cpu}\n")
    (tmp_path / "memory.max").write_text(f"{memory_max}\n")
    monkeypatch.setattr(os, "sched_getaffinity", mock.Mock(return_value=set(range(64))))
    monkeypatch.setattr(backtest, "processors", functools.partial(processors, tmp_path))
    monkeypatch.setattr(backtest, "memory", functools.partial(memory, tmp_path))
    panel = Panel(datetime.date(2024, 1, 1), ("1",), ("A",), np.ones((1, 400_000)), None)
    together = threading.Barrier(side_by_side)
    most, running, lock = 0, 0, threading.Lock()

    def forecast(known: Panel, days: int) -> Fitted:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)
        with lock:
            running -= 1
        return Fitted(np.ones((1, days)))

    backtest.run(forecast, panel, [200] * 8)
    assert most == side_by_side
