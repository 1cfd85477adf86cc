"""cdktf runs on every Node.js from the oldest that package.json allows."""

import json
import re
import subprocess

from tests.conftest import REPOSITORY

PSEUDO_TERMINAL = "@cdktf/node-pty-prebuilt-multiarch"


def test_the_pseudo_terminal_of_cdktf_needs_no_build_for_a_version_of_node() -> None:
    """cdktf's own has binaries up to Node.js 22 only; those of Node-API are the same for all versions."""
    code = (
        f"const shell = require('{PSEUDO_TERMINAL}').spawn('echo', ['hello']);"
        "shell.onData((data) => process.stdout.write(data));"
    )
    done = subprocess.run(
        ["node", "-e", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "hello"
    installed = REPOSITORY / "node_modules" / PSEUDO_TERMINAL / "package.json"
    platforms = json.loads(installed.read_text())["optionalDependencies"]
    binaries = [file for name in platforms for file in (REPOSITORY / "node_modules" / name).glob("**/*.node")]
    assert binaries
    assert all(b"napi_register_module" in file.read_bytes() for file in binaries)


def test_the_lock_names_no_registry() -> None:
    lock = (REPOSITORY / "package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert not re.search(r'"https?://[^"]*\.tgz"', lock)
