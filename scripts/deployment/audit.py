"""Look for known vulnerabilities in every lock file: `make audit`.

pip-audit calls packages clean when its source does not answer. So it is first asked for a package that is
known to be vulnerable. Exit status: 0 none is known, 1 some are, 3 a source does not answer.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from scripts.command import NoAnswerError, captured, command
from scripts.paths import ROOT, VENVS

_PIP_AUDIT: Final = "pip-audit==2.10.1"
_VULNERABLE: Final = "jinja2==2.10"


def vulnerabilities(lock: Path) -> list[str] | None:
    """Those that are known of the packages of a lock; None if there is no answer."""
    done = captured(
        *(VENVS / "tools" / "bin" / "uv", "tool", "run", "--quiet", _PIP_AUDIT, "--requirement", lock),
        *("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"),
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(done.stderr.strip(), file=sys.stderr)
        return None
    return [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {found['fix_versions']}"
        for each in packages
        for found in each.get("vulns", ())
    ]


def npm() -> list[str] | None:
    """Those that are known of the packages of package-lock.json; None if there is no answer."""
    try:
        done = captured("npm", "audit", "--json")
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)["vulnerabilities"]
    except (ValueError, KeyError):
        return None
    return [
        f"{name}: {each['severity']}"
        for name, each in found.items()
        if each["severity"] in ("high", "critical")
    ]


@command("audit")
def main() -> int:
    """Print what is known."""
    probe = ROOT / "build" / "vulnerable.txt"
    probe.write_text(f"{_VULNERABLE}\n")
    if not vulnerabilities(probe):
        raise NoAnswerError(f"nothing is known of {_VULNERABLE}, so the source does not answer")
    locks = [*(ROOT / "requirements").glob("*.lock"), *(ROOT / "services").glob("*/requirements.lock")]
    results = {str(lock.relative_to(ROOT)): vulnerabilities(lock) for lock in sorted(locks)}
    results["package-lock.json"] = npm()
    for name, found in results.items():
        print(f"{name}: {'no answer' if found is None else ', '.join(found) or 'none known'}")
    return 3 if None in results.values() else int(any(results.values()))
