"""Starts, stops or lists the emulators and processes of the simulated cloud: `up`, `down` or `status`."""

import argparse
import sys

from infra.simulator import SimulatorError, emulators, processes
from infra.simulator.home import home


def up() -> int:
    """Start the emulators that do not run, and print their addresses."""
    started = emulators.ensure()
    for name in started:
        print(f"started {name}")
    for name, value in emulators.endpoints().environment.items():
        print(f"{name}={value}")
    return 0


def down() -> int:
    """Stop every process of the simulated cloud, also without a record or Terraform state."""
    names = sorted({process.name for process in processes.recorded()} | set(processes.unrecorded()))
    # Services and bridges stop first, because they need the emulators to finish their work.
    needed = {emulator.process_name for emulator in emulators.EMULATORS}
    processes.stop(name for name in names if name not in needed)
    emulators.stop_all()
    for name in names:
        print(f"stopped {name}")
    return 0


def status() -> int:
    """Print every process; returns 1 if a process is dead or has no record."""
    rows = [
        (process.name, "running" if process.alive else "DEAD", str(process.pid), process.log)
        for process in processes.recorded()
    ]
    rows += [(name, "unrecorded", "", "") for name in processes.unrecorded()]
    if not rows:
        print(f"nothing runs in {home()}")
        return 0
    table = [("PROCESS", "STATE", "PID", "LOG"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any(state != "running" for _, state, _, _ in rows))


def main() -> int:
    """Run the command named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.simulator", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status"))
    command = {"up": up, "down": down, "status": status}[parser.parse_args().command]
    try:
        return command()
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
