"""Registries of images, asked by skopeo."""

import json
import re
import shutil
from collections.abc import Iterable
from typing import Final

from scripts.command import CommandError
from scripts.images.container_engine import run

# What skopeo prints when a registry answers that it has no such image.
_ABSENT: Final = re.compile(r"manifest.?unknown|name.?unknown", re.IGNORECASE)


def log_in(hosts: Iterable[str]) -> None:
    """Let the tools use gcloud's account for those of the hosts that are Google's registries.

    The account is a person's or, in CI, the federated identity: gcloud's credential helper gives tools a
    token that lasts an hour. For other registries the tools use their own `login`. CommandError if gcloud is
    not there, or has no account.
    """
    google = sorted(host for host in set(hosts) if host.endswith(".pkg.dev"))
    if not google:
        return
    try:
        run("gcloud", "auth", "print-access-token")
        run("gcloud", "auth", "configure-docker", "--quiet", ",".join(google))
    except CommandError as error:
        raise CommandError(f"not logged in: `gcloud auth login`, then again\n    {error}") from None


def digest(reference: str) -> str | None:
    """Digest of an image, `sha256:...`; None if its registry has no such image.

    CommandError if the registry does not answer, or denies.
    """
    return _inspect(reference, "--format={{.Digest}}")


def layers(reference: str) -> frozenset[str]:
    """Digests of an image's layers; none if its registry has no such image. CommandError as `digest`."""
    manifest = _inspect(reference, "--raw")
    return frozenset(layer["digest"] for layer in json.loads(manifest)["layers"]) if manifest else frozenset()


def copy(source: str, target: str) -> None:
    """Copy an image to another name or registry, byte by byte; CommandError if that fails."""
    _skopeo("copy", "--preserve-digests", f"docker://{source}", f"docker://{target}")


def _inspect(reference: str, option: str) -> str | None:
    try:
        return _skopeo("inspect", option, f"docker://{reference}").strip()
    except CommandError as error:
        if _ABSENT.search(str(error)):
            return None
        raise


def _skopeo(*arguments: str) -> str:
    if shutil.which("skopeo") is None:
        raise CommandError("install skopeo, which asks registries (it comes with podman and buildah)")
    return run("skopeo", *arguments).stdout
