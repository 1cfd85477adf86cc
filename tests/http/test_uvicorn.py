"""The raw requests of `test_fuzz` are read as uvicorn reads them, with either of its parsers."""

import random
import socket
from collections.abc import Iterator

import pytest

from scripts.laptop.airflow import PROGRAM
from tests.conftest import Process, free_port
from tests.http.test_fuzz import generate, parse

SEEDS = 40
REQUESTS = 50
END = b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

APPLICATION = """
async def application(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    echo = [(b"x-method", scope["method"].encode()), (b"x-body", body.hex().encode())]
    await send({"type": "http.response.start", "status": 204, "headers": echo})
    await send({"type": "http.response.body", "body": b""})
"""

Read = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module", params=["h11", "httptools"])
def uvicorn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Uvicorn, which Airflow brings, with an application that returns what it is sent."""
    python = PROGRAM.with_name("python")
    if not python.exists():
        pytest.skip("Airflow is absent: run `make install-airflow`")
    folder = tmp_path_factory.mktemp("uvicorn")
    (folder / "echo.py").write_text(APPLICATION)
    port = free_port()
    command = [str(python), "-m", "uvicorn", "--app-dir", str(folder), "--port", str(port)]
    command += ["--http", request.param, "--ws", "none", "--no-access-log", "echo:application"]
    server = Process(command, {}, port, folder / "log")
    server.start()
    yield server
    server.kill()


def ask(port: int, sent: bytes, number: int) -> tuple[Read, bool]:
    """What the server reads of so many requests, and whether it refuses one of them."""
    read: Read = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        received = b""
        while len(read) < number:
            head, end, rest = received.partition(b"\r\n\r\n")
            if not end:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
                continue
            received = rest
            status, *lines = head.split(b"\r\n")
            fields = dict(line.split(b": ", 1) for line in lines)
            if status.split()[1] == b"204":
                read.append((fields[b"x-method"], bytes.fromhex(fields[b"x-body"].decode())))
            elif status.split()[1] != b"100":
                assert status.split()[1] == b"400"
                return read, True
    return read, False


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_this_server_reads_uvicorn_reads(uvicorn: Process, seed: int) -> None:
    """Up to what either refuses. A last request shows where the one before it ends."""
    choice = random.Random(seed)
    for _ in range(REQUESTS):
        sent = generate(choice) + END
        if "httptools" in uvicorn.command and b"Upgrade" in sent:
            continue  # uvicorn drops what comes after the head
        own = [(method, body) for method, _, body in parse([sent])[0]]
        read, refused = ask(uvicorn.port, sent, len(own))
        assert read == (own[: len(read)] if refused else own), sent
