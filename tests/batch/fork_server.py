"""Runs commands in forks of one process that has imported what they need, which is most of their time.

`python -m tests.batch.fork_server SOCKET MODULE` imports a module once. `call` has it run a command; so does
the program that `write_client` writes, which stands in for an interpreter.
"""

import gc
import importlib
import inspect
import json
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

_CLIENT = """#!{python} -SEI
import json, os, socket, sys

{call}
sys.exit(call({address!r}, [*{words!r}, *sys.argv[1:]], dict(os.environ), os.getcwd(), 1, 2))
"""
_LONGEST_CALL = 1 << 20


def call(address: str, words: list[str], variables: dict[str, str], folder: str, out: int, error: int) -> int:
    """Have the server at a socket run a command; its exit status.

    The first words are `-m` and a module with a `main`, or `-c` and code; `out` and `error` are descriptors.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        socket.send_fds(server, [json.dumps([words, variables, folder]).encode()], [out, error])
        status = server.recv(1)
    return status[0] if status else 70


def write_client(path: Path, address: str, *words: str) -> None:
    """Write the program that has the server at a socket run its arguments, after `words`."""
    source = inspect.getsource(call)
    path.write_text(_CLIENT.format(python=sys.executable, call=source, address=address, words=words))
    path.chmod(0o755)


def _called(option: str, what: str, *arguments: str) -> int:
    """Run code, or the `main` of a module; its exit status."""
    sys.argv = [what, *arguments]
    if option == "-c":
        exec(what, {"__name__": "__main__"})  # noqa: S102 -- as the interpreter does
        return 0
    return importlib.import_module(what).main() or 0


def _run(connection: socket.socket) -> None:
    """Run what a client asks for, in this process, which ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, (out, error), *_ = socket.recv_fds(connection, _LONGEST_CALL, 2)
    words, variables, folder = json.loads(message)
    os.dup2(out, 1)
    os.dup2(error, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    status = 1
    try:
        status = _called(*words)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        logging.shutdown()
        connection.send(bytes([status]))
        os._exit(status)


def serve(address: str, module: str) -> None:
    """Import a module, then fork for each call; calls wait until then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        gc.disable()  # looking for garbage takes a fifth of the time of imports
        importlib.import_module(module)
        gc.freeze()  # no fork copies what it only looks through
        gc.enable()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(connection)
            connection.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
