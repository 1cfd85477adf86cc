"""Build a service's image, prove it, push it and pin its digest: `scripts/push_image.sh prediction dev`.

The digest goes into infra/environments/<environment>.images.json, which is to be committed: the next
deployment rolls out exactly that image. The tag is the last commit that changed what the image is made of.
When the registry has that already, nothing is built or pushed.

CONTAINER_ENGINE (docker, podman or buildah) names the engine, by default the first that works. BUILD_IMAGE,
BASE_IMAGE, BEAM_IMAGE and LAUNCHER_IMAGE replace the Dockerfile's own, for a mirror. Exit status: 0 done,
1 failed (nothing was written down), 2 called wrongly.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from rich.console import Console
from rich.table import Table

from infra import environment
from infra.environment import Environment, ImageName, InvalidEnvironmentError
from infra.google import image_sources
from scripts.images import container_engine as engines
from scripts.images import smoke_run as smoke
from scripts.images.container_engine import Engine, EngineError
from scripts.images.smoke_run import SmokeError
from scripts.paths import ROOT

_BASES: Final = ("BUILD_IMAGE", "BASE_IMAGE", "BEAM_IMAGE", "LAUNCHER_IMAGE")
_LINTER: Final = Path(sys.executable).with_name("hadolint")
_SCANNER: Final = "trivy"


class PushError(Exception):
    """The image cannot be pushed; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """What an image is built from.

    Attributes:
        revision: last commit that changed it.
        created: when that was, as RFC 3339.
        url: where the repository is; empty when git knows of no such place.
        tag: the revision, followed by a hash of the sources when they are not as committed.
    """

    revision: str
    created: str
    url: str
    tag: str


def source(service: ImageName, *, allow_dirty: bool) -> Source:
    """Where the sources of a service stand.

    Raises:
        PushError: they are not as committed, and that was not allowed; or nothing is committed.
    """
    # `glob`, because a plain `*` of git goes into folders.
    paths = [f":(glob){path}" for path in (*image_sources.paths(service), ".dockerignore")]
    dirty = _git("status", "--porcelain", "--", *paths).splitlines()
    if dirty and not allow_dirty:
        listed = "\n    ".join(dirty[:10])
        raise PushError(f"sources are not as committed; commit them, or pass --allow-dirty:\n    {listed}")
    revision, _, created = _git("log", "-1", "--format=%H %cI", "--", *paths).partition(" ")
    if not revision:
        raise PushError(f"no commit has the sources of {service}: run this in a clone of the repository")
    remotes = _git("remote").split()
    url = _git("remote", "get-url", remotes[0]) if remotes else ""
    tag = revision
    if dirty:
        tag += f"-dirty-{image_sources.source_digest(ROOT, service).removeprefix('sha256:')[:12]}"
    return Source(revision, created, re.sub("//[^/@]*@", "//", url), tag)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PushError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def labels(service: ImageName, origin: Source) -> dict[str, str]:
    """Annotations of https://specs.opencontainers.org/image-spec/annotations."""
    known = {
        "title": service,
        "source": origin.url,
        "revision": origin.revision,
        "created": origin.created,
        "licenses": "Apache-2.0",
    }
    return {f"org.opencontainers.image.{name}": value for name, value in known.items() if value}


def build(engine: Engine, service: ImageName, origin: Source, reference: str) -> None:
    """Build the image of a service.

    Raises:
        EngineError: it failed, or hadolint has something to say of the Dockerfile.
    """
    dockerfile = Path("services", service, "Dockerfile")
    engines.run(_LINTER, dockerfile)
    engine.build(
        dockerfile,
        reference,
        labels=labels(service, origin),
        arguments={name: os.environ[name] for name in _BASES if name in os.environ},
    )


def scan(engine: Engine, service: ImageName, reference: str) -> str:
    """Write the SBOM to build/images, and look in it for what is critical and has a remedy.

    Returns:
        What was done.

    Raises:
        EngineError: there is something.
    """
    if shutil.which(_SCANNER) is None:
        return f"not done: {_SCANNER} is not installed (Artifact Registry scans what is pushed)"
    bill = ROOT / "build" / "images" / f"{service}.cdx.json"
    bill.parent.mkdir(parents=True, exist_ok=True)
    # Not every engine lets the scanner read its storage.
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        archive = Path(folder, "image.tar")
        engine.save(reference, archive)
        engines.run(_SCANNER, "image", f"--input={archive}", "--format=cyclonedx", f"--output={bill}")
    engines.run(_SCANNER, "sbom", "--severity=CRITICAL", "--ignore-unfixed", "--exit-code=1", bill)
    return f"nothing critical; SBOM: {bill.relative_to(ROOT)}"


def push(
    target: Environment, service: ImageName, directory: Path, *, allow_dirty: bool, dry_run: bool
) -> Table:
    """Build, prove, push and write down, as far as that is still to be done.

    Args:
        target: environment to push for.
        service: whose image.
        directory: of the environment files.
        allow_dirty: take the sources as they are.
        dry_run: neither push nor write down.

    Returns:
        What was done.

    Raises:
        PushError, EngineError, SmokeError: a step failed; nothing was written down.
    """
    started = time.monotonic()
    origin = source(service, allow_dirty=allow_dirty)
    repository = f"{target.image_repository}/{service}"
    reference = f"{repository}:{origin.tag}"
    report = Table("", service, show_header=True)
    report.add_row("image", reference)
    engines.log_in([target.image_repository.partition("/")[0]])
    digest = engines.digest(reference)
    if digest is None:
        engine = engines.engine()
        report.add_row("engine", engine.name)
        build(engine, service, origin, reference)
        report.add_row("size", f"{engine.size(reference) / 1e6:.0f} MB, uncompressed")
        report.add_row("scan", scan(engine, service, reference))
        with smoke.surroundings():
            report.add_row("smoke run", smoke.check(engine, reference, service))
        if dry_run:
            report.add_row("push", "not done: --dry-run")
            return report
        pinned = target.images.get(service)
        before = engines.layers(f"{repository}@{pinned}") if pinned else frozenset[str]()
        engine.push(reference)
        digest = engines.digest(reference)
        if digest is None:
            raise PushError(f"{reference} was pushed, and its registry does not have it")
        now = engines.layers(reference)
        report.add_row(
            "push", f"done; {len(now & before)} of {len(now)} layers as in the image pinned before"
        )
    else:
        report.add_row("push", "not needed: the registry has it")
    report.add_row("digest", digest)
    if not dry_run:
        file = environment.record_image(target.name, service, digest, directory=directory)
        report.add_row("written to", f"{file}; commit it, then deploy {target.name}-services")
    report.add_row("time", f"{time.monotonic() - started:.1f} s")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="push_image.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("service", metavar="SERVICE", choices=get_args(ImageName), help="%(choices)s")
    parser.add_argument("environment", metavar="ENVIRONMENT", help="for which it is pushed: dev, staging ...")
    parser.add_argument("--allow-dirty", action="store_true", help="take sources that are not committed")
    parser.add_argument("--dry-run", action="store_true", help="build and prove; do not push or write down")
    given = parser.parse_args(arguments)
    directory = environment.directory()
    try:
        target = environment.load(given.environment, directory=directory)
        if target.simulated:
            raise PushError(f"{target.name} is simulated: it runs the sources, there is nothing to push")
        os.chdir(ROOT)
        report = push(target, given.service, directory, allow_dirty=given.allow_dirty, dry_run=given.dry_run)
    except (InvalidEnvironmentError, PushError, EngineError, SmokeError) as error:
        print(f"push_image: {error}", file=sys.stderr)
        return 1
    Console().print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
