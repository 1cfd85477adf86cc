"""Images are signed with the environment's key: what gcloud is told, and when."""

import json

import pytest

from infra import environment
from infra.environment import Environment
from scripts.command import CommandError
from scripts.images import attestation
from tests.scripts.conftest import Tools

IMAGE = f"europe-west1-docker.pkg.dev/sales-forecast-staging/sales-forecast/prediction@sha256:{'a' * 64}"
KEY = (
    "projects/sales-forecast-staging/locations/europe-west1/keyRings/sales-forecast-images/cryptoKeys/signing"
)
ATTESTOR = "projects/sales-forecast-staging/attestors/sales-forecast"
NEWEST = f"{KEY}/cryptoKeyVersions/10"
VERSIONS = json.dumps([{"name": f"{KEY}/cryptoKeyVersions/{number}"} for number in (9, 10)])


@pytest.fixture
def staging() -> Environment:
    return environment.load("staging")


def google(tools: Tools, *, versions: str = VERSIONS, keys: tuple[str, ...] = ()) -> None:
    note = {"publicKeys": [{"id": f"//cloudkms.googleapis.com/v1/{key}"} for key in keys]}
    tools.add(
        "gcloud",
        {
            "kms keys versions list": (0, versions),
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
