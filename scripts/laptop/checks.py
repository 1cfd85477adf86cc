"""What stops a command on the local platform before it begins: damaged files, taken ports."""

import contextlib
import json

from infra.environment import Environment
from infra.simulator import emulators, home, kubelet, processes
from scripts.command import CommandError

# What Terraform and the simulator have in each file.
_FILES = {"terraform/*.tfstate": "serial", "processes/*.json": "create_time", "resources/*/*.json": "id"}


def check_files() -> None:
    """Look for damage in Terraform's states and the records of processes and resources.

    Raises:
        CommandError: a file is damaged; names it, and what to do.
    """
    folder = home.home()
    for pattern, key in _FILES.items():
        for file in sorted(folder.glob(pattern)):
            content = file.read_bytes()
            if not content and not file.with_name(f"{file.name}.backup").exists() and key == "serial":
                continue  # Terraform makes the file before it has anything to write
            with contextlib.suppress(ValueError):
                found = json.loads(content)
                if isinstance(found, dict) and key in found:
                    continue
            remedy = f"`make down FORCE=1` stops what runs here and removes {folder}; then `make up`"
            raise CommandError(f"{file} is damaged: {remedy}")


def check_ports(target: Environment) -> None:
    """Look for other programs on the ports of the services.

    Raises:
        CommandError: there is one; names it, its port, and what to do.
    """
    own = [process for process in processes.recorded() if process.alive]
    for name, service in target.workloads.items():
        if not emulators.is_free(service.port) and not any(each.listens_on(service.port) for each in own):
            raise CommandError(f"{name}: {kubelet.taken(name, service.port)}. Nothing was started")
