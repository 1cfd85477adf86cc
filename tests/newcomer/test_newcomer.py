"""A newcomer's first hour, in a clean copy of this checkout: the README's commands as they stand.

The copy shares the packages that are installed here; `.ci/run` installs them into a clean checkout.
"""

import csv
import datetime
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.checkout import copy_checkout, link_installed
from tests.conftest import free_port, wait_for
from tests.docs.markdown import ON_A_PLATFORM, Command, commands

pytestmark = pytest.mark.slow


class Checkout:
    """A copy of what git tracks or would track, whose platform listens on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_checkout(folder)
        link_installed(folder)
        self.port, streaming = free_port(), free_port()
        tfvars = folder / "infra" / "environments" / "local.tfvars"
        text = tfvars.read_text()
        assert "= 8780" in text
        assert "= 8781" in text
        tfvars.write_text(text.replace("= 8780", f"= {self.port}").replace("= 8781", f"= {streaming}"))

        # The folder alone decides: nothing of the developer's own platform or settings.
        self.inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLOUDSDK_", "PLATFORM_", "SIMULATOR_", "VIRTUAL_ENV", "TF_", "PYTEST_"))
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.inherited,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )

    def run_until_ctrl_c(self, command: str, awaited: str) -> str:
        """What a command shows on a terminal; Ctrl-C is pressed when it has shown some text."""
        terminal = {**self.inherited, "TTY_COMPATIBLE": "1"}  # of rich
        shown = ""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            while awaited not in shown and (line := process.stdout.readline()):
                shown += line
            process.send_signal(signal.SIGINT)
            shown += process.stdout.read()
        assert process.returncode == 0, f"{command}: {shown}"
        return shown

    def make(self, *arguments: str) -> str:
        done = self.run("make", "--no-print-directory", *arguments)
        assert done.returncode == 0, f"make {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def predict(self, query: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}/predict?{query}", timeout=120)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started from this folder or works in it."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
            if any(str(self.folder) in word for word in words):
                found.append(process)
        return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("newcomer"))
    yield checkout
    for process in checkout.processes():  # none after `make down`, unless a test failed
        process.kill()


def series(response: httpx.Response) -> dict[tuple[str, str], list[str]]:
    """Forecast days by series."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in response.json()["prediction"]:
        found.setdefault((row["store_nbr"], row["family"]), []).append(row["date"])
    return found


def kaggle_like(path: Path) -> None:
    """Eight series in the columns of Kaggle's Store Sales, with its closed Christmas."""
    draw = random.Random(7)
    first = datetime.date(2016, 1, 1)
    days = [first + datetime.timedelta(day) for day in range(560)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "date", "store_nbr", "family", "sales", "onpromotion"])
        row = 0
        for day in days:
            if (day.month, day.day) == (12, 25):
                continue
            for store in range(1, 5):
                for family, level in (("BEVERAGES", 900.0), ("DAIRY", 300.0)):
                    promoted = draw.randrange(4)
                    weekend = 1.4 if day.weekday() >= 5 else 1.0
                    sales = level * (1 + store / 12) * weekend * (1 + 0.1 * promoted) * draw.uniform(0.8, 1.2)
                    writer.writerow([row, day.isoformat(), store, family, round(sales, 3), promoted])
                    row += 1


def test_make_up_answers_for_every_series(checkout: Checkout) -> None:
    printed = checkout.make("up")
    assert "The platform on this machine" in printed
    assert f"127.0.0.1:{checkout.port}/predict?range=7" in printed
    response = checkout.predict("range=7")
    assert response.status_code == 200
    assert response.json()["success"] is True
    found = series(response)
    assert len(found) >= 50
    assert {len(days) for days in found.values()} == {7}
    assert len({tuple(days) for days in found.values()}) == 1


def serials(checkout: Checkout) -> dict[str, int]:
    """How often Terraform has written the state of each stack."""
    states = (checkout.folder / ".local" / "terraform").glob("*.tfstate")
    return {state.stem: json.loads(state.read_text())["serial"] for state in states}


def test_the_documents_commands_work_on_it(checkout: Checkout) -> None:
    def answer(command: Command) -> str:
        if command.text == "scripts/watch":
            return checkout.run_until_ctrl_c(command.text, "dead letters")
        text = command.text.replace("127.0.0.1:8780", f"127.0.0.1:{checkout.port}")
        text = re.sub("^curl", "curl --fail --silent --show-error", text)
        done = checkout.run("bash", "-ec", f"source .local/env; {text}")
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    tried = [command for command in commands() if command.words[0] in ON_A_PLATFORM]
    assert {command.words[0] for command in tried} == {*ON_A_PLATFORM}
    for command in tried:
        if "SELECT" in command.text:  # what a passive request has written is there soon
            wait_for("rows", lambda command=command: len(json.loads(answer(command)).get("rows", ())) == 5)
        elif "-OJ" in command.words:
            answer(command)
            [file] = checkout.folder.glob("*.csv")
            assert len(file.read_text().splitlines()) % 28 == 1
            file.unlink()
        else:
            printed = answer(command)
            assert json.loads(printed) if command.starts("curl") else printed


def test_what_make_status_says_to_try_works(checkout: Checkout, tmp_path: Path) -> None:
    status = checkout.run("env", "COLUMNS=300", "make", "--no-print-directory", "status")
    shown, found, tries = status.stdout.partition("What to try:\n")
    assert found
    assert re.search(r"model +│ \S+, published \d+\.\d h ago; \d+ series until 20\d\d-", shown)
    printed = [line.partition("   #")[0].strip() for line in tries.splitlines() if line.startswith("  ")]
    # The pipeline is tried by tests/batch, the end by the last test.
    tried = [each for each in printed if each not in ("make pipeline", "make down")]
    assert [each.split()[0] for each in tried] == ["curl", "scripts/publish", "make"]
    for each in tried:
        done = checkout.run("bash", "-ec", each)
        assert done.returncode == 0, f"{each}: {done.stdout}{done.stderr}"
        assert done.stdout
    unknown = checkout.run("env", "COLUMNS=300", "scripts/publish", "7", "--store-nbr=Nowhere", "--active")
    assert unknown.returncode == 1
    assert "unknown store_nbr 'Nowhere'" in unknown.stdout
    invalid = checkout.run("scripts/publish", "0")
    assert invalid.returncode == 1
    assert invalid.stderr.startswith("publish: 0: Expected `int` >= 1")
    asked = "SELECT 'a word' AS word, COUNT(DISTINCT store_nbr) > 1 AS several FROM sales.sales"
    rows = checkout.make("sql", f"QUERY={asked}")
    assert re.search(r"word +┃ several", rows)
    assert re.search(r"a word +│ True", rows)
    refused = checkout.run("make", "--no-print-directory", "sql", "QUERY=SELECT nothing FROM sales.sales")
    assert refused.returncode != 0
    assert "sql: " in refused.stderr


def test_make_open_opens_the_page(checkout: Checkout, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/bash\necho "$1" >"$0.opened"\n')
    browser.chmod(0o755)
    done = checkout.run("env", f"BROWSER={browser}", "make", "--no-print-directory", "open")
    assert (done.returncode, done.stdout) == (0, "")
    page = (tmp_path / "browser.opened").read_text().strip()
    assert page == f"http://127.0.0.1:{checkout.port}/"
    assert "<!doctype html>" in httpx.get(page, timeout=120).text.lower()


def test_diff_shows_no_changes(checkout: Checkout) -> None:
    done = checkout.run("npx", "--no-install", "cdktf", "diff", "local-messaging")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes" in done.stdout


def test_a_killed_service_comes_back_with_a_make_up_of_own_data(checkout: Checkout, tmp_path: Path) -> None:
    """A second `make up` changes what is missing and nothing else, whatever the data."""
    kaggle_like(tmp_path / "train.csv")
    before = serials(checkout)
    [victim] = [
        each
        for each in checkout.processes()
        if "services.prediction" in " ".join(each.cmdline()) and each.ppid() == 1
    ]
    os.killpg(victim.pid, signal.SIGKILL)
    others = {process.pid for process in checkout.processes()} - {victim.pid}
    status = checkout.run("make", "--no-print-directory", "status")
    assert status.returncode != 0
    assert re.search(r"prediction.*DEAD", status.stdout)
    diff = checkout.run("npx", "--no-install", "cdktf", "diff", "local-services")
    assert "1 to add" in diff.stdout
    checkout.make("up", f"DATA={tmp_path / 'train.csv'}")
    after = serials(checkout)
    assert {stack for stack, serial in after.items() if serial != before[stack]} <= {"local-services"}
    assert others < {process.pid for process in checkout.processes()}
    found = series(checkout.predict("range=7"))
    assert len(found) == 8
    assert {days[0] for days in found.values()} == {"2017-07-14"}
    assert checkout.make("diff", "STACKS=services observability").count("no changes") == 2


def test_a_broken_file_loads_nothing(checkout: Checkout, tmp_path: Path) -> None:
    answer, states = checkout.predict("range=1").json(), serials(checkout)
    processes = {process.pid for process in checkout.processes()}
    broken = tmp_path / "broken.csv"
    broken.write_text("date,store_nbr,family,sales\n2024-01-01,1,A,3\n2024-01-02,1,A,-5\n")
    done = checkout.run("make", "--no-print-directory", "up", f"DATA={broken}")
    assert done.returncode != 0
    assert "sales" in done.stderr
    assert "row 3" in done.stderr
    assert checkout.predict("range=1").json() == answer
    assert serials(checkout) == states
    assert {process.pid for process in checkout.processes()} == processes


def test_make_down_leaves_nothing_running(checkout: Checkout) -> None:
    checkout.make("down")
    assert [process.cmdline() for process in checkout.processes()] == []
    with pytest.raises(httpx.ConnectError):
        checkout.predict("range=7")
