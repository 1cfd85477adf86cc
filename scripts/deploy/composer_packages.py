"""Resolve the PyPI packages of every environment's Composer: `make composer-packages`.

Composer installs them into Airflow's own environment and fails after half an hour if they contradict it. Here
they are resolved beforehand, together with Airflow of Composer's version and the providers that it brings.
"""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from infra import environment
from infra.environment.orchestration import AIRFLOW_VERSION
from scripts.paths import ROOT

_UV: Final = ROOT / "build" / "venvs" / "tools" / "bin" / "uv"

_PYTHON: Final = "3.11"
"""Of Composer 3: https://cloud.google.com/composer/docs/composer-versions."""

_PREINSTALLED: Final = (
    f"apache-airflow=={AIRFLOW_VERSION}",
    "apache-airflow-providers-cncf-kubernetes",
    "apache-airflow-providers-google",
)


class ConflictError(Exception):
    """The packages contradict each other or Airflow; the message is the resolver's."""


class UnreachableError(Exception):
    """The package index could not be asked, so nothing is known."""


def resolve(packages: Mapping[str, str]) -> int:
    """How many packages these and Airflow come to.

    Args:
        packages: name to version, as in `composer.packages`.

    Raises:
        ConflictError: there is no such set.
        UnreachableError: the package index could not be asked.
    """
    wanted = [*_PREINSTALLED, *(name + pin for name, pin in packages.items())]
    done = subprocess.run(
        [_UV, "pip", "compile", "-", "--python-version", _PYTHON, "--no-header", "--no-annotate", "--quiet"],
        input="\n".join(wanted),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return len(done.stdout.splitlines())
    # uv resolves with status 1; it has no status of its own for an index that does not answer.
    reason = done.stderr.strip()
    unreachable = ("error sending request", "Failed to fetch", "dns error", "Could not connect")
    if any(text in reason for text in unreachable):
        raise UnreachableError(reason)
    raise ConflictError(reason)


def main() -> int:
    """Resolve them all; returns the exit status: 1 for a conflict, 3 if the index could not be asked."""
    for each in environment.load_all():
        if "orchestration" not in each.stacks:
            continue
        key = f"{each.name}: composer.packages"
        try:
            count = resolve(each.composer.packages)
        except ConflictError as error:
            print(f"{key}: {error}\nTake other versions in {each.name}.tfvars.", file=sys.stderr)
            return 1
        except UnreachableError as error:
            print(f"{key}: not resolved, the package index does not answer: {error}", file=sys.stderr)
            return 3
        print(f"{key}: {len(each.composer.packages)} pinned, {count} with Airflow {AIRFLOW_VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
