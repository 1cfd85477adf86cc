"""Runs batch commands in forks of one process that has imported Beam, polars and the clients of Google Cloud.

A step of a DAG is `STEPS_PYTHON -m services.batch.COMMAND ARGUMENTS`, and most of its time goes into imports.
`python -m tests.batch.step_server SOCKET` imports once. `write_client` writes the program that stands in for
STEPS_PYTHON: it passes its arguments, environment, folder and output to the server, and returns the status of
the command.
"""

import importlib
import json
import logging
import os
import pkgutil
import signal
import socket
import sys
import traceback
from pathlib import Path

from services import batch

_CLIENT = """#!{python} -SEI
import json, os, socket, sys

_, module, *arguments = sys.argv[1:]
call = [module, arguments, dict(os.environ), os.getcwd()]
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(call).encode()], [1, 2])
    status = server.recv(1)
sys.exit(status[0] if status else 70)
"""
_LONGEST_CALL = 1 << 20


def write_client(path: Path, address: str) -> None:
    """Write the program that has the server at a socket run a command."""
    path.write_text(_CLIENT.format(python=sys.executable, address=address))
    path.chmod(0o755)


def _run(connection: socket.socket) -> None:
    """Run the command that a client asks for, in this process, which ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, (out, error), *_ = socket.recv_fds(connection, _LONGEST_CALL, 2)
    module, arguments, environment, folder = json.loads(message)
    os.dup2(out, 1)
    os.dup2(error, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    status = 1
    try:
        status = importlib.import_module(module).main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        logging.shutdown()
        connection.send(bytes([status]))
        os._exit(status)


def serve(address: str) -> None:
    """Import every command, then fork for each call."""
    for each in pkgutil.iter_modules(batch.__path__, f"{batch.__name__}."):
        importlib.import_module(each.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(connection)
            connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
