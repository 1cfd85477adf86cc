"""Resolve the PyPI packages of every environment's Composer: `make composer-packages`.

Composer installs them into Airflow's own environment and fails after half an hour if they conflict with it.
This command resolves them first, together with Composer's version of Airflow and its preinstalled providers.
"""

import hashlib
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from infra import environment
from infra.environment.orchestration import AIRFLOW_VERSION
from scripts.command import captured
from scripts.paths import ROOT, VENVS

_RESOLVED: Final = ROOT / "build" / "composer-packages"

_PYTHON: Final = "3.11"
"""Of Composer 3: https://cloud.google.com/composer/docs/composer-versions."""

_PREINSTALLED: Final = (
    f"apache-airflow=={AIRFLOW_VERSION}",
    "apache-airflow-providers-cncf-kubernetes",
    "apache-airflow-providers-google",
)


class ConflictError(Exception):
    """The packages conflict with each other or with Airflow; carries the resolver's message."""


class UnreachableError(Exception):
    """The package index does not answer."""


def resolve(packages: Mapping[str, str]) -> int:
    """Resolve packages together with Airflow; returns the number of packages in the result.

    The result is kept in `build/`: the next run tries its versions first, which takes seconds.

    Args:
        packages: name to version, as in `composer.packages`.

    Raises:
        ConflictError: no set of versions fits.
        UnreachableError: the package index does not answer.
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
        raise UnreachableError(reason)
    raise ConflictError(reason)


def main() -> int:
    """Resolve the packages of all environments; returns the exit status.

    1 for a conflict, 3 if the index does not answer.
    """
    environments = [each for each in environment.load_all() if "orchestration" in each.stacks]
    pins = {each.name: frozenset(each.composer.packages.items()) for each in environments}
    with ThreadPoolExecutor() as pool:
        results = {each: pool.submit(resolve, dict(each)) for each in {*pins.values()}}
    for name, packages in pins.items():
        key = f"{name}: composer.packages"
        try:
            count = results[packages].result()
        except ConflictError as error:
            print(f"{key}: {error}\nChoose other versions in {name}.tfvars.", file=sys.stderr)
            return 1
        except UnreachableError as error:
            print(f"{key}: not resolved, the package index does not answer: {error}", file=sys.stderr)
            return 3
        print(f"{key}: {len(packages)} pinned, {count} with Airflow {AIRFLOW_VERSION}")
    return 0
