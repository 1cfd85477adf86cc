"""What the handlers of emulated resources share: requests with errors for Terraform, and observing drift."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from infra.simulator import emulators, rest
from infra.simulator.resources import ResourceError, Values

Fields = Mapping[str, tuple[str, ...]]
"""Attributes that live in an emulator, in Terraform's names; for a block, its attributes that do."""


def endpoints() -> emulators.Endpoints:
    """Where the emulators listen.

    Raises:
        ResourceError: one does not run.
    """
    try:
        return emulators.endpoints()
    except emulators.EmulatorError as error:
        raise ResourceError("The simulated cloud is not running", str(error)) from error


def create(action: str, address: str, method: str, path: str, body: object, *, resource: str) -> Any:
    """Send a request that creates something.

    Args:
        action: What is being done, for the error's summary.
        address: `host:port`.
        method: HTTP method.
        path: Path of the request.
        body: JSON to send.
        resource: Path of what is created.

    Raises:
        ResourceError: it exists, or the emulator refuses.
    """
    try:
        return rest.call(method, address, path, body)
    except rest.RestError as error:
        detail = str(error)
        if error.status == 409:
            detail = detail.rstrip(".") + (
                ". If it is left over from an interrupted command, remove it and apply again: "
                f"curl -X DELETE 'http://{address}{resource}'"
            )
        raise ResourceError(f"Cannot {action}", detail) from error


def change(action: str, address: str, method: str, path: str, body: object = None) -> Any:
    """Send a request that changes something.

    Raises:
        ResourceError: the emulator refuses.
    """
    try:
        return rest.call(method, address, path, body)
    except rest.RestError as error:
        raise ResourceError(f"Cannot {action}", str(error)) from error


def read(action: str, address: str, path: str) -> Any:
    """Get something; None if it does not exist.

    Raises:
        ResourceError: the emulator does not answer.
    """
    try:
        return rest.call("GET", address, path)
    except rest.RestError as error:
        if error.status == 404:
            return None
        raise ResourceError(f"Cannot {action}", str(error)) from error


def delete(action: str, address: str, path: str) -> None:
    """Remove something; fine if it does not exist.

    Raises:
        ResourceError: the emulator refuses.
    """
    try:
        rest.call("DELETE", address, path)
    except rest.RestError as error:
        if error.status != 404:
            raise ResourceError(f"Cannot {action}", str(error)) from error


def path(*segments: str) -> str:
    """A path, each segment percent-encoded."""
    return "".join("/" + quote(segment, safe="") for segment in segments)


def block(values: Values, name: str) -> Values | None:
    """The one nested block of this name, or None."""
    blocks: list[Values] = values.get(name) or []
    return blocks[0] if blocks else None


def camel(name: str) -> str:
    """`ack_deadline_seconds` as REST calls it: `ackDeadlineSeconds`."""
    first, *rest_ = name.split("_")
    return first + "".join(word.capitalize() for word in rest_)


def body(values: Values, fields: Fields) -> dict[str, Any]:
    """The REST form of attributes; absent ones are left out."""
    result: dict[str, Any] = {}
    for name, members in fields.items():
        if not members:
            if values.get(name) is not None:
                result[camel(name)] = values[name]
        elif nested := block(values, name):
            result[camel(name)] = {camel(key): nested[key] for key in members if nested.get(key) is not None}
    return result


def observe(state: Values, live: Mapping[str, Any], fields: Fields) -> Values:
    """The state, with the attributes that live in an emulator as they are there.

    An attribute that is absent in the state stays absent: the emulator's default is no drift. A block that is
    absent in the state and present in the emulator is drift.
    """
    seen: Values = {}
    for name, members in fields.items():
        there: Any = live.get(camel(name))
        if not members:
            seen[name] = _observed(state.get(name), there)
            continue
        nested = block(state, name) or {}
        if there and any(camel(key) in there for key in members):
            seen[name] = [
                nested
                | {
                    key: _observed(nested.get(key), there.get(camel(key)))
                    if nested
                    else there.get(camel(key))
                    for key in members
                }
            ]
        else:
            seen[name] = []
    return state | seen


def _observed(known: Any, there: Any) -> Any:
    # Emulators leave out what is empty, and write durations their own way: "600s", "600.000s".
    same = known is None or (not known and not there) or _seconds(known) == _seconds(there)
    return known if same else there


def _seconds(value: Any) -> Any:
    """A duration's number of seconds, any other value as it is."""
    if isinstance(value, str) and value.endswith("s"):
        try:
            return float(value[:-1])
        except ValueError:
            return value
    return value
