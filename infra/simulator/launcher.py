"""What Terraform starts as a provider: `python -I -S infra/simulator/launcher.py google|kubernetes`.

It has the fork server serve the provider, and lasts as long. Without a fork server, it becomes the provider.
It imports little, because each walk of Terraform starts one: `socket` and `typing` take as long as all else.
"""

import _socket
import os
import sys
import zlib

ROOT = os.path.abspath(f"{__file__}/../../..")  # noqa: PTH100 -- pathlib takes as long to import as all else
CHECKOUT = f"{zlib.crc32(os.fsencode(ROOT)):08x}"
"""Tells its fork server from those that other checkouts have in the same simulated cloud."""
SOCKET = f"providers-{CHECKOUT}.sock"  # the fork server's, in the folder of the simulated cloud


def _is_served(provider: str) -> bool:
    """Have the fork server serve, until Terraform shuts the provider down; False without a fork server."""
    folder = os.getcwd()  # noqa: PTH109
    server = _socket.socket(_socket.AF_UNIX)
    try:
        os.chdir(os.environ.get("SIMULATOR_HOME") or f"{ROOT}/.local")  # a socket's path is short
        server.connect(SOCKET)
        variables = (f"{name}={value}" for name, value in os.environ.items())
        request = os.fsencode("\0".join((provider, folder, *variables)))
        descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)
        server.sendmsg([len(request).to_bytes(4)], [rights])
        server.sendall(request)
        accepted = server.recv(1)
    except OSError:
        accepted = b""
    os.chdir(folder)
    if not accepted:
        return False
    server.recv(1)  # the end
    return True


if __name__ == "__main__":
    if not _is_served(sys.argv[1]):
        os.environ["PYTHONPATH"] = ROOT
        arguments = (sys.executable, "-P", "-m", "infra.simulator.provider", sys.argv[1])
        os.execv(sys.executable, arguments)  # noqa: S606 -- no shell is needed
