"""Resolve the PyPI packages of every environment's Composer: `make composer-packages`.

Composer installs them into Airflow's own environment and fails after half an hour if they conflict with it.
This command resolves them first, together with Composer's version of Airflow and its preinstalled providers.
Exit status: 0 they fit, 1 they conflict, 3 the package index does not answer.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from infra import environment
from infra.environment.orchestration import AIRFLOW_VERSION
from scripts.command import CommandError, NoAnswerError, captured, command
from scripts.paths import ROOT, VENVS

_RESOLVED: Final = ROOT / "build" / "composer-packages"
_PYTHON: Final = "3.11"  # of Composer 3: https://cloud.google.com/composer/docs/composer-versions
_PREINSTALLED: Final = (
    f"apache-airflow=={AIRFLOW_VERSION}",
    "apache-airflow-providers-cncf-kubernetes",
    "apache-airflow-providers-google",
)


def resolve(packages: Mapping[str, str]) -> int:
    """Resolve packages, as in `composer.packages`, together with Airflow; returns how many there are in all.

    The result is kept in `build/`: the next run tries its versions first, which takes seconds. CommandError
    says why no set of versions fits, NoAnswerError that the package index does not answer.
    """
    wanted = "\n".join([*_PREINSTALLED, *(name + pin for name, pin in sorted(packages.items()))])
    _RESOLVED.mkdir(parents=True, exist_ok=True)
    lock = _RESOLVED / f"{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.txt"
    done = captured(
        *(VENVS / "tools" / "bin" / "uv", "pip", "compile", "-", "--python-version", _PYTHON),
        *("--no-header", "--no-annotate", "--quiet", "--output-file", lock),
        text=wanted,
    )
    if done.returncode == 0:
        return len(lock.read_text(encoding="utf-8").splitlines())
    # uv has no exit status of its own for an index that does not answer.
    reason = done.stderr.strip()
    unreachable = ("error sending request", "Failed to fetch", "dns error", "Could not connect")
    if any(text in reason for text in unreachable):
        raise NoAnswerError(f"not resolved, the package index does not answer: {reason}")
    raise CommandError(f"{reason}\nchoose other versions for composer.packages")


@command("composer-packages")
def main() -> int:
    """Resolve the packages of all environments, one after the other."""
    for target in environment.load_all():
        if "orchestration" in target.stacks:
            packages = target.composer.packages
            print(f"{target.name}: composer.packages: ", end="", flush=True)
            print(f"{len(packages)} pinned, {resolve(packages)} with Airflow {AIRFLOW_VERSION}")
    return 0
