"""The way out of cdktf, which is archived: the same stacks on cdktn, its living fork."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.stacks.synthesized import committed

pytestmark = pytest.mark.slow

PACKAGES = ("cdktn==0.24.0", "cdktn-provider-google==21.1.0", "cdktn-provider-kubernetes==17.1.0")
# Everything that changes, as docs/architecture.md says: file of infra -> pattern -> replacement.
CHANGES = {
    "cdk/__init__.py": {
        r"cdktf_cdktf_provider_": "cdktn_provider_",
        r"import cdktf\n": "import cdktn as cdktf\n",
        r"from cdktf import": "from cdktn import",
    },
    "cdk/bindings.py": {r'"cdktf", "constructs"': '"cdktn", "constructs"'},
    "kubernetes/namespace.py": {r'metadata=(\{"name": name, "labels": [^\n]*\}),': r"metadata=[\1],"},
    "kubernetes/pod_runner.py": {r'("role",\s+metadata=)(\{[^\n]*\}),': r"\1[\2],"},
}


@pytest.fixture(scope="module")
def python() -> Path:
    """Python with the fork and what stacks import besides, installed at the first use."""
    venv = REPOSITORY / "build" / "venvs" / "cdktn"
    python = venv / "bin" / "python"
    done = venv / "installed"
    if not done.exists() or done.read_text() != str(PACKAGES):
        uv = REPOSITORY / "build" / "venvs" / "tools" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", venv], check=True)
        others = ("msgspec", "pydantic>=2", "python-hcl2>=8.1")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES, *others], check=True)
        done.write_text(str(PACKAGES))
    return python


def changed(folder: Path) -> Path:
    """A copy of what is synthesized, on the fork."""
    for room in ("infra", "services", "stacks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / room, folder / room, ignore=ignored)
    for name, replacements in CHANGES.items():
        file = folder / "infra" / name
        text = file.read_text()
        for pattern, replacement in replacements.items():
            text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
            assert count, f"{pattern} is not in {name}"
        file.write_text(text)
    return folder


def alike(content: dict[str, Any]) -> dict[str, Any]:
    """A stack without what the fork spells in another way."""
    content.pop("//", None)
    for resources in content.get("resource", {}).values():
        for resource in resources.values():
            resource.pop("//", None)
    for provider in content["terraform"]["required_providers"].values():
        provider["source"] = provider["source"].removeprefix("hashicorp/")
    for kind in ("kubernetes_namespace_v1", "kubernetes_role_v1"):
        for resource in content.get("resource", {}).get(kind, {}).values():
            if isinstance(resource["metadata"], list):
                (resource["metadata"],) = resource["metadata"]
    return content


def test_the_fork_synthesizes_the_same(
    python: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = committed(tmp_path_factory)
    copy, out = changed(tmp_path), tmp_path / "out"
    done = subprocess.run(
        [python, "-m", "stacks"],
        cwd=copy,
        env=os.environ | {"CDKTF_OUTDIR": str(out), "SIMULATOR_HOME": str(here.folder.parent / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(here.stacks) == 31
    for stack in here.stacks:
        text = (out / "stacks" / stack.id / "cdk.tf.json").read_text()
        there = json.loads(text.replace(str(copy), str(REPOSITORY)))
        assert alike(there) == alike(json.loads(json.dumps(stack.content))), stack.id
