"""Those commands of gcloud that take over what a destroyed environment left, for the simulated cloud."""

from collections.abc import Mapping
from typing import Final

from infra.simulator import inventory
from infra.simulator.resources import Values

_POOLS: Final = ("iam", "workload-identity-pools")
_KINDS: Final[Mapping[tuple[str, ...], str]] = {
    _POOLS: "google_iam_workload_identity_pool",
    (*_POOLS, "providers"): "google_iam_workload_identity_pool_provider",
    ("beta", "quotas", "preferences"): "google_cloud_quotas_quota_preference",
    ("logging", "buckets"): "google_logging_project_bucket_config",
    ("kms", "keyrings"): "google_kms_key_ring",
    ("kms", "keys"): "google_kms_crypto_key",
}
_NAMED_BY_PROJECT: Final = ("google_kms_key_ring", "google_kms_crypto_key")
"""Other names begin with the project's number, as those of most of Google's newer APIs."""
_NUMBER: Final = "100000000000"
_PARENTS: Final = {"--workload-identity-pool": "/workloadIdentityPools/{}/", "--keyring": "/keyRings/{}/"}


def ask(*arguments: str) -> list[Values]:
    """The resources that a `list` names, deleted ones among them."""
    words, flags = _parse(arguments)
    if "versions" in words:
        return [version for key in _keys(flags) for version in key["primary"]]
    kind = _KINDS[words[:-1]]
    project = f"projects/{flags['--project']}/"
    prefix = project if kind in _NAMED_BY_PROJECT else f"projects/{_NUMBER}/"
    parts = [project]
    parts += [form.format(flags[flag]) for flag, form in _PARENTS.items() if flag in flags]
    found = [{"state": "ACTIVE", **each} for each in inventory.all_of(kind)]
    found += [{**each, "state": "DELETED"} for each in inventory.deleted(kind)]
    return [
        {"name": each["id"].replace(project, prefix), "state": each["state"], "purpose": each.get("purpose")}
        | {"lifecycleState": "DELETE_REQUESTED" if each["state"] == "DELETED" else "ACTIVE"}
        | ({"primary": {"state": "ENABLED"}} if each.get("primary") else {})
        for each in found
        if all(part in each["id"] for part in parts)
    ]


def run(*arguments: str) -> None:
    """Undelete a pool, provider or log bucket, or give a key a new version."""
    words, flags = _parse(arguments)
    if words[-1] == "create":
        for key in _keys(flags):
            version = {"name": f"{key['id']}/cryptoKeyVersions/2", "state": "ENABLED"}
            inventory.record("google_kms_crypto_key", key | {"primary": [version]})
        return
    *_, name = words
    kind = _KINDS[words[:-2]]
    for each in list(inventory.deleted(kind)):
        if each["id"].endswith(f"/{name}"):
            inventory.record(kind, each)


def _keys(flags: dict[str, str]) -> list[Values]:
    id_ = f"/keyRings/{flags['--keyring']}/cryptoKeys/{flags['--key']}"
    return [key for key in inventory.all_of("google_kms_crypto_key") if key["id"].endswith(id_)]


def _parse(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    words = tuple(each for each in arguments if not each.startswith("--"))
    flags = (each.partition("=") for each in arguments if each.startswith("--"))
    return words, {flag: value for flag, _, value in flags}
