"""`make audit`. Stubs stand for the sources of vulnerabilities, which cannot be had here."""

import json
from pathlib import Path

import pytest

from scripts.deployment import audit

JINJA = {
    "name": "jinja2",
    "version": "2.10",
    "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}],
}
SOUND = {"name": "httpx", "version": "1.0", "vulns": []}


class Sources:
    """What pip-audit and npm answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.joinpath("tools", "bin").mkdir(parents=True)

    def python(self, probe: str, locks: str) -> None:
        """What is known of the probe, and of the packages of every lock file."""
        script = f"case \"$*\" in *vulnerable.txt*) echo '{probe}';; *) echo '{locks}';; esac"
        self._write(self._folder / "tools" / "bin" / "uv", script)

    def npm(self, answer: str) -> None:
        self._write(self._folder / "npm", f"echo '{answer}'")

    @staticmethod
    def _write(file: Path, script: str) -> None:
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)


def dependencies(*packages: object) -> str:
    return json.dumps({"dependencies": packages})


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """Sources that know a fault of the probe alone."""
    monkeypatch.setattr(audit, "VENVS", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sources = Sources(tmp_path)
    sources.python(dependencies(JINJA), dependencies(SOUND))
    sources.npm('{"vulnerabilities": {"minor": {"severity": "low"}}}')
    return sources


def test_nothing_is_known(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    locks = {line.partition(":")[0] for line in lines}
    assert {"requirements/dev.lock", "services/batch/requirements.lock", "package-lock.json"} <= locks
    assert all(line.endswith(": none known") for line in lines)


def test_what_is_known_is_named(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    sources.python(dependencies(JINJA), dependencies(SOUND, JINJA))
    sources.npm('{"vulnerabilities": {"left-pad": {"severity": "critical"}}}')
    assert audit.main([]) == 1
    printed = capsys.readouterr().out
    assert "requirements/dev.lock: jinja2 2.10: PYSEC-2019-217, fixed in ['2.10.1']" in printed
    assert "package-lock.json: left-pad: critical" in printed


def test_a_source_that_knows_nothing_does_not_answer(
    sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.python(dependencies(SOUND), dependencies(SOUND))
    assert audit.main([]) == 3
    assert "nothing is known of jinja2==2.10, so the source does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", '{"error": {"code": "ENOTFOUND"}}'])
def test_npm_does_not_answer(sources: Sources, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    sources.npm(answer)
    assert audit.main([]) == 3
    assert "package-lock.json: no answer" in capsys.readouterr().out
