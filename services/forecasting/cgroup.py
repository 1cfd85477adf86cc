"""What this process may use: a container has a part of the machine's processors and memory."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")  # of version 2; a container sees its own here


def processors(cgroup: Path = _CGROUP) -> int:
    """Processors this process may keep busy."""
    mine = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    return max(1, min(mine, round(int(quota) / int(period)))) if quota.isdigit() else mine


def memory(cgroup: Path = _CGROUP) -> int:
    """Bytes this process may have: those of the machine, or fewer in a container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(cgroup / "memory.max")
    return min(machine, int(limit)) if limit.isdigit() else machine


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # another system, or no limits
        return ""
