"""What all commands share: they reach this machine past any proxy, and end with one line."""

import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import google.auth
import psutil
import pytest
from google.auth.exceptions import DefaultCredentialsError

from scripts.command import running
from scripts.messages import publish, replay, watch
from tests.conftest import REPOSITORY, wait_for


class Server(http.server.ThreadingHTTPServer):
    """Answers with its own name, and counts what it is asked."""

    def __init__(self, name: str) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


PROGRAM = """
    import os, subprocess, sys
    import httpx
    from scripts.command import argument, command

    ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"

    @command("ask", argument("port"))
    def main(port: str) -> int:
        for host in ("127.0.0.1", "localhost"):
            print(httpx.get(f"http://{host}:{port}/").text)
        print(httpx.get("http://elsewhere.test/").text, flush=True)
        subprocess.run([sys.executable, "-c", ASK, f"http://127.0.0.1:{port}/"], check=True)
        print(os.environ["NO_PROXY"], os.environ["no_proxy"])
        return 0

    main()
"""


@pytest.mark.parametrize(("before", "after"), [({}, ""), ({"NO_PROXY": "own.test"}, ",own.test")])
def test_only_what_is_elsewhere_goes_through_a_proxy(before: dict[str, str], after: str) -> None:
    proxy, own = Server("proxy"), Server("own")
    through = f"http://127.0.0.1:{proxy.server_port}"
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(own.server_port)],
        cwd=REPOSITORY,
        env={**inherited, "HTTP_PROXY": through, "http_proxy": through, **before},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first = "127.0.0.1,localhost"
    assert done.stdout.split() == ["own", "own", "proxy", "own", f"{first}{after}", first]
    assert proxy.asked == ["http://elsewhere.test/"]


def test_a_program_and_its_children_end_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # Stopped, the child takes no signal but SIGKILL.
    program = "sleep 600 & kill -STOP $!; echo $!; wait"
    with running("sh", "-c", program, log=log) as process:
        wait_for("its child", lambda: log.read_text().endswith("\n"))
        child = psutil.Process(int(log.read_text()))
        assert process.is_running()
        assert child.is_running()
    assert process.poll() == -signal.SIGTERM
    wait_for("its end", lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_what_stops_a_command_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "cost", "nowhere"],
        env={**os.environ, "PLATFORM_ENVIRONMENTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cost: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("main", "name", "words"),
    [
        (publish.main, "publish", ["7"]),
        (publish.main, "publish", ["7", "--active"]),
        (replay.main, "replay", []),
        (watch.main, "watch", []),
    ],
    ids=["publish", "publish --active", "replay", "watch"],
)
def test_messages_of_a_cloud_need_a_login(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], int],
    name: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words, "--environment", "dev"])
    monkeypatch.setattr(
        google.auth, "default", mock.Mock(side_effect=DefaultCredentialsError("none found\nhere"))
    )
    assert main() == 1
    remedy = "not logged in to Google Cloud: run `gcloud auth application-default login` (none found)\n"
    assert capsys.readouterr().err == f"{name}: {remedy}"
