"""Serves providers from forks of one process: to start one takes a tenth of the CPU of a new interpreter.

    python -m infra.simulator.fork_server

The first provider of a simulated cloud starts it, and `down` stops it. `launcher` is its client.
"""

import gc
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Final

from infra.paths import ROOT
from infra.simulator import install, provider, resources, terraform
from infra.simulator.home import home
from infra.simulator.launcher import SOCKET

_QUEUE: Final = 128


def _versions() -> dict[str, int]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {file: Path(file).stat().st_mtime_ns for file in files if file and Path(file).exists()}


def _serve(client: socket.socket) -> int:
    """Take the place of the launcher, and serve the provider that it asks for; returns the exit status."""
    size, descriptors, _, _ = socket.recv_fds(client, 4, 3)
    request = client.makefile("rb").read(int.from_bytes(size))
    client.sendall(b"\1")
    name, folder, *variables = os.fsdecode(request).split("\0")
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    for each in variables:
        variable, _, os.environ[variable] = each.partition("=")
    os.chdir(folder)
    # Terraform kills a launcher whose provider does not end.
    threading.Thread(target=lambda: (client.recv(1), os._exit(1)), daemon=True).start()
    return provider.main([name])


def main() -> None:
    """Serve until the process is stopped, or what it has imported is changed."""
    for type_name in resources.HANDLERS:
        resources.handler(type_name)
    for name in install.VERSIONS:
        terraform.facts_of(name)
    versions = _versions()
    os.chdir(home())
    Path(SOCKET).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(SOCKET)
    server.listen(_QUEUE)
    gc.freeze()  # no fork copies what it only looks through
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while True:
        client, _ = server.accept()
        if _versions() != versions:
            os.chdir(ROOT)
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 -- no shell is needed
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            status = _serve(client)
            sys.stdout.flush()
            os._exit(status)
        client.close()


if __name__ == "__main__":
    main()
