"""Signatures of images, which clusters with Binary Authorization ask for."""

from infra.environment import Environment
from scripts.command import CommandError
from scripts.deployment import gcloud

_BINAUTHZ = ("container", "binauthz")


def signed(target: Environment, image: str) -> bool:
    """Whether an image, by digest, has a signature of the environment's attestor.

    Raises:
        CommandError: Google does not answer, or there is no attestor.
    """
    question = ("attestations", "list", f"--attestor={target.attestor}", f"--artifact-url={image}")
    return bool(gcloud.ask(*_BINAUTHZ, *question, f"--project={target.project_id}"))


def sign(target: Environment, image: str) -> str:
    """Sign an image by digest, so that the environment's cluster admits it.

    Args:
        target: environment with the attestor and the key.
        image: the image, `<repository>/<service>@sha256:...`.

    Returns:
        The version of the key that signed.

    Raises:
        CommandError: the attestor or the key is missing, or may not be used.
    """
    project = f"--project={target.project_id}"
    key = f"--key={target.signing_key}"
    versions = gcloud.ask("kms", "keys", "versions", "list", key, "--filter=state=ENABLED")
    if not versions:
        raise CommandError(f"no version of {target.signing_key} is enabled: bootstrap and deploy foundation")
    version = max((each["name"] for each in versions), key=lambda name: int(name.rpartition("/")[2]))
    attestors = (*_BINAUTHZ, "attestors")
    known = gcloud.ask(*attestors, "describe", target.attestor, project)["userOwnedGrafeasNote"]
    # Terraform has no resource that shows the public half of a key, so who pushes first registers it. CI may
    # not: whoever could would sign with a key of their own.
    if not any(each["id"].endswith(version) for each in known.get("publicKeys", ())):
        of_key = (f"--attestor={target.attestor}", f"--keyversion={version}")
        gcloud.run(*attestors, "public-keys", "add", *of_key, project)
    what = (f"--artifact-url={image}", f"--attestor={target.attestor}", f"--keyversion={version}")
    gcloud.run("beta", *_BINAUTHZ, "attestations", "sign-and-create", *what, "--validate", project)
    return version
