"""Signatures of images, which clusters with Binary Authorization ask for."""

import base64
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.environment import Environment
from scripts.command import CommandError
from scripts.deployment import gcloud

_BINAUTHZ = ("container", "binauthz")


def signed(target: Environment, image: str) -> bool:
    """Whether the environment's cluster admits an image, `<repository>/<service>@sha256:...`.

    A record of a signature proves nothing: whoever may write notes' occurrences can store one. A key of the
    attestor must have signed the digest. CommandError if Google does not answer, or there is no attestor.
    """
    keys = _keys(target)
    question = ("attestations", "list", f"--attestor={target.attestor}", f"--artifact-url={image}")
    records = gcloud.ask(*_BINAUTHZ, *question, f"--project={target.project_id}") if keys else ()
    return any(
        _signs(record["attestation"]["serializedPayload"], signature, keys, image.rpartition("@")[2])
        for record in records
        for signature in record["attestation"]["signatures"]
    )


def _keys(target: Environment) -> dict[str, str]:
    """Public keys of the attestor, as PEM, by name."""
    named = gcloud.ask(*_BINAUTHZ, "attestors", "describe", target.attestor, f"--project={target.project_id}")
    keys = named["userOwnedGrafeasNote"].get("publicKeys", ())
    return {each["id"]: each["pkixPublicKey"]["publicKeyPem"] for each in keys if "pkixPublicKey" in each}


def _signs(payload: str, signature: Mapping[str, str], keys: Mapping[str, str], digest: str) -> bool:
    """Whether one of the keys signed exactly this payload, and the payload names the digest."""
    try:
        content = _decoded(payload)
        key = serialization.load_pem_public_key(keys[signature["publicKeyId"]].encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):  # the platform's own is of this kind
            return False
        key.verify(_decoded(signature["signature"]), content, ec.ECDSA(hashes.SHA256()))
        return json.loads(content)["critical"]["image"]["docker-manifest-digest"] == digest
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False


def _decoded(text: str) -> bytes:
    """Bytes from either alphabet of base64: gcloud may print the one that is safe in URLs."""
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")))


def sign(target: Environment, image: str) -> str:
    """Sign an image by digest for the environment's cluster, or CommandError; returns the key's version."""
    key = f"--key={target.signing_key}"
    versions = gcloud.ask("kms", "keys", "versions", "list", key, "--filter=state=ENABLED")
    if not versions:
        raise CommandError(f"no version of {target.signing_key} is enabled: bootstrap and deploy foundation")
    version = max((each["name"] for each in versions), key=lambda name: int(name.rpartition("/")[2]))
    project = f"--project={target.project_id}"
    # Terraform has no resource that shows the public half of a key, so who pushes first registers it. CI may
    # not: whoever could would sign with a key of their own.
    if not any(each.endswith(version) for each in _keys(target)):
        of_key = (f"--attestor={target.attestor}", f"--keyversion={version}")
        gcloud.run(*_BINAUTHZ, "attestors", "public-keys", "add", *of_key, project)
    what = (f"--artifact-url={image}", f"--attestor={target.attestor}", f"--keyversion={version}")
    gcloud.run("beta", *_BINAUTHZ, "attestations", "sign-and-create", *what, "--validate", project)
    return version
