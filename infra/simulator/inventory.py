"""The inventory of the simulated cloud: the values of the applied resources of all stacks.

A provider process knows the state of one stack, but whether Google accepts a change often depends on others.
Each resource has a file below `resources/<type>/` with its values in Terraform's names; some as an API
writes them (`as_stored`).
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from infra.simulator.home import folder, write_atomic
from infra.simulator.resources import Values

# A deleted pool or provider keeps its id for 30 days, a deleted log bucket for 7.
_KEEP_THEIR_IDS: Final = (
    "google_iam_workload_identity_pool",
    "google_iam_workload_identity_pool_provider",
    "google_logging_project_bucket_config",
)
# What a deleted object named is in use until its controller catches up: `controllers_catch_up`.
_LINGERS: Final = "kubernetes_manifest"
# Nobody can delete them: Terraform destroys the versions of a key, and forgets the rest.
_FOREVER: Final = ("google_cloud_quotas_quota_preference", "google_kms_crypto_key", "google_kms_key_ring")
_EXPONENTS: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}

_made: Final[set[Path]] = set()


def update(type_name: str, before: Values | None, after: Values | None) -> None:
    """Record what has become of a resource."""
    if after is not None:
        record(type_name, after)
        if before is None:
            _made.add(_path(type_name, _identified(type_name, after)["id"]))
    elif before is not None and type_name in _FOREVER:
        record(type_name, before | ({"primary": []} if "primary" in before else {}))
    elif before is not None:
        file = _path(type_name, _identified(type_name, before)["id"])
        if file.exists() and type_name in (*_KEEP_THEIR_IDS, _LINGERS):
            file.replace(file.with_suffix(".deleted"))
        file.unlink(missing_ok=True)
        file.with_suffix(".gone").unlink(missing_ok=True)


def record(type_name: str, values: Values) -> None:
    """Record a resource or its new values."""
    values = _identified(type_name, values)
    text = json.dumps(values, sort_keys=True)
    file = _path(type_name, values["id"])
    for suffix in (".gone", ".deleted"):
        file.with_suffix(suffix).unlink(missing_ok=True)
    if not file.exists() or file.read_text() != text:
        write_atomic(file, text)


def vanish(type_name: str, id_: str) -> None:
    """Remove a resource that goes with another one; Terraform's state still has it."""
    file = _path(type_name, id_)
    with contextlib.suppress(FileNotFoundError):  # destroyed just now
        file.replace(file.with_suffix(".gone"))


def has_vanished(type_name: str, values: Values) -> bool:
    """Whether a resource has gone with another one."""
    return _path(type_name, _identified(type_name, values)["id"]).with_suffix(".gone").exists()


def is_new(type_name: str, id_: str) -> bool:
    """Whether this process has made the resource; Terraform starts one for each apply."""
    return _path(type_name, id_) in _made


def controllers_catch_up() -> None:
    """Forget deleted objects of Kubernetes, as controllers do a while after."""
    for file in folder(f"resources/{_LINGERS}").glob("*.deleted"):
        file.unlink(missing_ok=True)


def is_taken(type_name: str, id_: str) -> bool:
    """Whether a resource cannot be created, since its id is that of one that was destroyed."""
    if type_name in _FOREVER:
        return exists(type_name, id_)
    return type_name in _KEEP_THEIR_IDS and any(each["id"] == id_ for each in deleted(type_name))


def all_of(type_name: str, suffix: str = ".json") -> Iterator[Values]:
    """The resources of a type."""
    for file in sorted(folder(f"resources/{type_name}").glob(f"*{suffix}")):
        with contextlib.suppress(FileNotFoundError):  # destroyed just now
            yield json.loads(file.read_text())


def deleted(type_name: str) -> Iterator[Values]:
    """Destroyed resources of a type whose ids nobody can have yet, or that linger."""
    return all_of(type_name, ".deleted")


def exists(type_name: str, id_: str) -> bool:
    """Whether a resource with this id exists."""
    return _path(type_name, id_).exists()


def is_enabled(service: str, project: str) -> bool:
    """Whether a project has an API; where Terraform enables none, they are enabled elsewhere."""
    services = [each["service"] for each in all_of("google_project_service") if each["project"] == project]
    return not services or service in services


def _identified(type_name: str, values: Values) -> Values:
    """The values with an id, which a manifest has not."""
    if type_name != "kubernetes_manifest":
        return values
    _, manifest = values["manifest"]  # a dynamic value is a pair of its type and itself
    metadata = manifest["metadata"]
    id_ = f"{manifest['kind']}/{metadata.get('namespace')}/{metadata['name']}"
    return {"id": id_, "manifest": manifest}


def _path(type_name: str, id_: str) -> Path:
    # An id may be longer than a file name can be.
    return folder(f"resources/{type_name}") / f"{hashlib.sha256(id_.encode()).hexdigest()}.json"


def as_stored(type_name: str, values: Values) -> Values:
    """The values of a resource as its API answers them, which a later plan shows."""
    if type_name == "google_monitoring_dashboard":
        document = json.loads(values["dashboard_json"])
        stored = _without_empty(document)
        return values if stored == document else values | {"dashboard_json": json.dumps(stored)}
    if type_name == "kubernetes_horizontal_pod_autoscaler_v2":
        return values | {"spec": _with_quantities(values["spec"])}
    return values


def _without_empty(value: Any) -> Any:
    """A document without zeros, empty strings and false, which Google's APIs omit."""
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items() if each not in (0, "")}
    return [_without_empty(each) for each in value] if isinstance(value, list) else value


def _with_quantities(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _with_quantities(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_quantities(each, name) for each in value]
    return quantity(value) if isinstance(value, str) and name in ("average_value", "value") else value


def quantity(text: str) -> str:
    """A decimal quantity as Kubernetes writes it: `1000` is `1k`, `0.5` is `500m`."""
    # https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    number = text.rstrip("".join(_EXPONENTS))
    try:
        value = Decimal(number).scaleb(_EXPONENTS[text[len(number) :]])
    except (InvalidOperation, KeyError):  # binary, such as 1Gi, which stays
        return text
    for suffix, exponent in reversed(_EXPONENTS.items()):
        scaled = value.scaleb(-exponent)
        if scaled == scaled.to_integral_value():
            return f"{scaled:f}".partition(".")[0] + (suffix if value else "")
    return text
