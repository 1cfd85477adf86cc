"""Build a service's image, test it, push it and pin its digest: `scripts/push_image.sh prediction dev`.

The digest is written into infra/environments/<environment>.images.json. Commit that file: the next
deployment rolls out exactly that image. The tag is the last commit that changed the sources of the image.
If the registry has that tag already, nothing is built or pushed.

CONTAINER_ENGINE (docker, podman or buildah) names the engine, by default the first that works. BUILD_IMAGE,
BASE_IMAGE, BEAM_IMAGE and LAUNCHER_IMAGE replace those of services/Dockerfile, for a mirror. Exit status:
0 done, 1 failed (nothing was written down), 2 wrong arguments.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from infra import environment
from infra.environment import IMAGES, Environment
from infra.environment.services import SERVICES
from infra.google.images import source_digest, source_paths
from scripts.command import TARGET, CommandError, argument, command
from scripts.images import attestation, container_engine, image_registry, smoke_run
from scripts.images.container_engine import Engine
from scripts.paths import ROOT
from scripts.progress import Progress

_BASES: Final = ("BUILD_IMAGE", "BASE_IMAGE", "BEAM_IMAGE", "LAUNCHER_IMAGE")
_LINTER: Final = Path(sys.executable).with_name("hadolint")


class Source(NamedTuple):
    """The last commit that changed the sources of an image: as its annotations, and as its tag."""

    labels: dict[str, str]
    tag: str


def source(service: str, *, allow_dirty: bool) -> Source:
    """The state of a service's sources. Those that are not as committed add their hash to the tag."""
    if _git("rev-parse", "--is-shallow-repository") == "true":
        reason = "the last commit that changed the sources may be missing, and the tag would be another"
        raise CommandError(f"this clone is shallow: {reason}; run `git fetch --unshallow`")
    # `glob`, because git's plain `*` matches `/`, too.
    paths = [f":(glob){path}" for path in (*source_paths(service), ".dockerignore")]
    dirty = _git("status", "--porcelain", "--", *paths).splitlines()
    if dirty and not allow_dirty:
        listed = "\n    ".join(dirty[:10])
        raise CommandError(f"sources are not committed; commit them, or pass --allow-dirty:\n    {listed}")
    revision, _, created = _git("log", "-1", "--format=%H %cI", "--", *paths).partition(" ")
    if not revision:
        raise CommandError(f"no commit has the sources of {service}: run this in a clone of the repository")
    changed = f"-dirty-{source_digest(ROOT, service).removeprefix('sha256:')[:12]}" if dirty else ""
    # https://specs.opencontainers.org/image-spec/annotations
    known = {"title": service, "revision": revision, "created": created, "licenses": "Apache-2.0"}
    if remotes := _git("remote").split():
        known["source"] = re.sub("//[^/@]*@", "//", _git("remote", "get-url", remotes[0]))
    labels = {f"org.opencontainers.image.{name}": value for name, value in known.items()}
    return Source(labels, f"{revision}{changed}")


def _git(*arguments: str) -> str:
    return container_engine.run("git", *arguments).stdout.strip()


def build(engine: Engine, service: str, origin: Source, reference: str) -> None:
    """Build the image of a service, if hadolint finds no fault in the Dockerfile."""
    container_engine.run(_LINTER, container_engine.DOCKERFILE)
    bases = {name: os.environ[name] for name in _BASES if name in os.environ}
    engine.build(
        reference,
        target="service" if service in SERVICES else "worker",
        labels=origin.labels,
        arguments={"SERVICE": service, **bases},
    )


def _push(target: Environment, service: str, *, allow_dirty: bool, dry_run: bool) -> Table:
    """Build, test and push an image, unless the registry has it, and record its digest."""
    started = time.monotonic()
    progress = Progress(Console())
    origin = source(service, allow_dirty=allow_dirty)
    repository = f"{target.image_repository}/{service}"
    reference = f"{repository}:{origin.tag}"
    report = Table("", service, show_header=True)
    report.add_row("image", reference)
    image_registry.log_in([target.image_repository.partition("/")[0]])
    digest = image_registry.digest(reference)
    # Only what was built and tried here is signed, so what lacks a signature is built again: to the same
    # image, or the registry, whose tags are immutable, refuses it.
    if digest is None or (target.signs_images and not attestation.signed(target, f"{repository}@{digest}")):
        engine = container_engine.engine()
        report.add_row("engine", engine.name)
        with progress.of(f"build of {service}"):
            build(engine, service, origin, reference)
        report.add_row("size", f"{engine.size(reference) / 1e6:.0f} MB, uncompressed")
        with progress.of(f"smoke run of {service}"), smoke_run.surroundings():
            report.add_row("smoke run", smoke_run.check(engine, reference, service))
        if dry_run:
            report.add_row("push", "not done: --dry-run")
            return report
        pinned = target.images.get(service)
        before = image_registry.layers(f"{repository}@{pinned}") if pinned else frozenset[str]()
        with progress.of(f"push of {service}"):
            container_engine.run(engine.name, "push", reference)
        digest = image_registry.digest(reference)
        if digest is None:
            raise CommandError(f"{reference} was pushed, but its registry does not have it")
        now = image_registry.layers(reference)
        kept = f"{len(now & before)} of {len(now)} layers as in the image pinned before"
        report.add_row("push", f"done; {kept}")
        if target.signs_images:
            report.add_row("signed", attestation.sign(target, f"{repository}@{digest}"))
    else:
        report.add_row("push", "not needed: the registry has it")
    report.add_row("digest", digest)
    if not dry_run:
        file = environment.record_image(target.name, service, digest, directory=environment.directory())
        report.add_row("written to", f"{file}; commit it, then deploy {target.name}-services")
    report.add_row("time", f"{time.monotonic() - started:.1f} s")
    return report


@command(
    "push_image",
    argument("service", metavar="SERVICE", choices=IMAGES, help="%(choices)s"),
    TARGET,
    argument("--allow-dirty", action="store_true", help="take sources that are not committed"),
    argument("--dry-run", action="store_true", help="build and test; do not push or record"),
)
def main(service: str, target: Environment, *, allow_dirty: bool, dry_run: bool) -> int:
    """Build, test and push."""
    if target.simulated:
        raise CommandError(f"{target.name} is simulated: it runs the sources, there is nothing to push")
    os.chdir(ROOT)
    Console().print(_push(target, service, allow_dirty=allow_dirty, dry_run=dry_run))
    return 0
