"""Only signatures by the environment's key count as such: what gcloud is told, and when."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra import environment
from infra.environment import Environment
from scripts.command import CommandError
from scripts.images import attestation
from tests.scripts.conftest import Tools

DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"europe-west1-docker.pkg.dev/sales-forecast-staging/sales-forecast/prediction@{DIGEST}"
KEY = (
    "projects/sales-forecast-staging/locations/europe-west1/keyRings/sales-forecast-images/cryptoKeys/signing"
)
ATTESTOR = "projects/sales-forecast-staging/attestors/sales-forecast"
NEWEST = f"{KEY}/cryptoKeyVersions/10"
VERSIONS = json.dumps([{"name": f"{KEY}/cryptoKeyVersions/{number}"} for number in (9, 10)])


SIGNING, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
PAYLOAD = json.dumps(
    {
        "critical": {
            "identity": {"docker-reference": IMAGE.partition("@")[0]},
            "image": {"docker-manifest-digest": DIGEST},
            "type": "Google cloud binauthz container signature",
        }
    }
)


@pytest.fixture
def staging() -> Environment:
    return environment.load("staging")


def name(key: str) -> str:
    """As gcloud names a version of a key in an attestor."""
    return f"//cloudkms.googleapis.com/v1/{key}"


def attestation_of(
    payload: str,
    key: ec.EllipticCurvePrivateKey = SIGNING,
    *,
    key_id: str = name(NEWEST),
    encode: Callable[[bytes], bytes] = base64.b64encode,
) -> dict[str, Any]:
    """A signed payload, as Container Analysis keeps it."""
    signature = key.sign(payload.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "serializedPayload": encode(payload.encode()).decode(),
        "signatures": [{"publicKeyId": key_id, "signature": encode(signature).decode()}],
    }


def google(
    tools: Tools,
    *,
    versions: str = VERSIONS,
    keys: tuple[str, ...] = (),
    attestations: tuple[dict[str, Any], ...] = (),
) -> None:
    public = SIGNING.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pkix = {"publicKeyPem": public.decode(), "signatureAlgorithm": "ECDSA_P256_SHA256"}
    note = {"publicKeys": [{"id": name(key), "pkixPublicKey": pkix} for key in keys]}
    tools.add(
        "gcloud",
        {
            "kms keys versions list": (0, versions),
            "container binauthz attestations list": (
                0,
                json.dumps([{"attestation": each} for each in attestations]),
            ),
            "container binauthz attestors describe": (0, json.dumps({"userOwnedGrafeasNote": note})),
        },
    )


def told(tools: Tools, verb: str) -> list[list[str]]:
    return [call for call in tools.calls() if verb in call]


@pytest.mark.parametrize(
    ("known", "registered"), [((), 1), ((f"{KEY}/cryptoKeyVersions/1",), 1), ((NEWEST,), 0)]
)
def test_the_newest_version_signs_and_is_registered_once(
    tools: Tools, staging: Environment, known: tuple[str, ...], registered: int
) -> None:
    google(tools, keys=known)
    assert attestation.sign(staging, IMAGE) == NEWEST
    (signing,) = told(tools, "sign-and-create")
    assert {f"--artifact-url={IMAGE}", f"--attestor={ATTESTOR}", f"--keyversion={NEWEST}"} <= {*signing}
    assert len(told(tools, "public-keys")) == registered


def test_without_an_enabled_version_nothing_is_signed(tools: Tools, staging: Environment) -> None:
    google(tools, versions="[]")
    with pytest.raises(CommandError, match="no version of"):
        attestation.sign(staging, IMAGE)
    assert not told(tools, "sign-and-create")


def test_a_key_of_the_attestor_signed_the_digest(tools: Tools, staging: Environment) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        good = attestation_of(PAYLOAD, encode=encode)
        google(tools, keys=(NEWEST,), attestations=(attestation_of(PAYLOAD, OTHER), good))
        assert attestation.signed(staging, IMAGE)


SIGNED_OTHERWISE = attestation_of(PAYLOAD.replace("a" * 64, "b" * 64))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(SIGNED_OTHERWISE, id="another image"),
        pytest.param(
            attestation_of(PAYLOAD) | {"signatures": SIGNED_OTHERWISE["signatures"]},
            id="signature of another image",
        ),
        pytest.param(attestation_of(PAYLOAD, OTHER), id="another key under the name of the attestor's"),
        pytest.param(attestation_of(PAYLOAD, OTHER, key_id=name("other")), id="another key"),
        pytest.param(attestation_of(PAYLOAD) | {"signatures": []}, id="no signature"),
        pytest.param(attestation_of("[]"), id="a payload that names no image"),
    ],
)
def test_nothing_else_counts_as_signed(tools: Tools, staging: Environment, record: dict[str, Any]) -> None:
    google(tools, keys=(NEWEST,), attestations=(record,))
    assert not attestation.signed(staging, IMAGE)


def test_the_key_of_a_signature_was_withdrawn(tools: Tools, staging: Environment) -> None:
    google(tools, keys=(), attestations=(attestation_of(PAYLOAD),))
    assert not attestation.signed(staging, IMAGE)
