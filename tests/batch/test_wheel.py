"""The wheel for workers that are not the batch image, which `--extra_package` hands to them."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

# As a worker does with what the launcher pickled, and a child process of no folder of ours.
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from services.batch import scoring, groups
from services.forecasting import learning
assert all(module.__file__.startswith(sys.argv[1]) for module in (scoring, groups, learning))
"""


def test_services_can_be_imported_from_the_wheel(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for package in ("services", "infra", "scripts", "stacks"):
        ignored = shutil.ignore_patterns("__pycache__", "provider_facts")
        shutil.copytree(REPOSITORY / package, source / package, ignore=ignored)
    pip = REPOSITORY / "build" / "venvs" / "tools" / "bin" / "python"
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={tmp_path}", str(source))
    subprocess.run([pip, *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == "sales_forecast_platform-0.1.0-py3-none-any.whl"
    subprocess.run([sys.executable, "-c", WORKER, str(wheel)], cwd=tmp_path, check=True)
