"""What an API stores of values that it writes in its own way, which a later plan shows."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from infra.simulator.resources import Values

_EXPONENTS: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def as_stored(type_name: str, values: Values) -> Values:
    """The values of a resource as its API answers them."""
    match type_name:
        case "google_monitoring_dashboard":
            return _dashboard(values)
        case "kubernetes_horizontal_pod_autoscaler_v2":
            return _autoscaler(values)
        case _:
            return values


def quantity(text: str) -> str:
    """A decimal quantity as Kubernetes writes it: `1000` is `1k`, `0.5` is `500m`.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
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


def _autoscaler(values: Values) -> Values:
    def walk(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: walk(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [walk(each, name) for each in value]
        return quantity(value) if isinstance(value, str) and name in ("average_value", "value") else value

    return values | {"spec": walk(values["spec"], "spec")}


def _dashboard(values: Values) -> Values:
    """A document without zeros, empty strings and false, which Google's APIs omit."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(each) for key, each in value.items() if each not in (0, "")}
        return [walk(each) for each in value] if isinstance(value, list) else value

    document = json.loads(values["dashboard_json"])
    stored = walk(document)
    return values if stored == document else values | {"dashboard_json": json.dumps(stored)}
