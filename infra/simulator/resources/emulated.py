"""Shared by the handlers of emulated resources: requests with Terraform's errors, and detection of drift."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from infra.simulator import emulators, rest
from infra.simulator.resources import ResourceError, Values

Fields = Mapping[str, tuple[str, ...]]
"""Attributes that the emulator knows, in Terraform's names; for a block, the names of its attributes."""


def endpoints() -> emulators.Endpoints:
    """Where the emulators listen.

    Raises:
        ResourceError: an emulator does not run.
    """
    try:
        return emulators.endpoints()
    except emulators.EmulatorError as error:
        raise ResourceError("The simulated cloud is not running", str(error)) from error


def refuse(values: Values, names: Iterable[str], what: str = "", attribute: str | None = None) -> None:
    """Refuse arguments that cannot be simulated.

    Args:
        values: A resource or a nested block.
        names: Arguments that must be absent, empty or false.
        what: Name of the nested block, with a separator.
        attribute: Top-level attribute that holds the nested block.

    Raises:
        ResourceError: one of them is set.
    """
    for name in names:
        if values.get(name):
            raise ResourceError(
                "Not simulated", f"{what}{name} has no counterpart on a laptop", attribute or name
            )


class Service:
    """Requests to an emulator; each takes what it does in words, for the summary of an error.

    Every method raises ResourceError if the emulator does not answer, or refuses.
    """

    def __init__(self, name: str) -> None:
        """Send to pubsub, bigquery or storage."""
        self._name = name

    @property
    def address(self) -> str:
        """`host:port` of the emulator."""
        return getattr(endpoints(), self._name)

    def create(self, action: str, method: str, path: str, body: object, *, resource: str) -> Any:
        """Create something that must not exist; `resource` is its path."""
        try:
            return rest.call(method, self.address, path, body)
        except rest.RestError as error:
            detail = str(error)
            if error.status == 409:
                detail = detail.rstrip(".") + (
                    ". If it is left over from an interrupted command, remove it and apply again: "
                    f"curl -X DELETE 'http://{self.address}{resource}'"
                )
            raise ResourceError(f"Cannot {action}", detail) from error

    def change(self, action: str, method: str, path: str, body: object = None) -> Any:
        """Change something; returns the answer."""
        try:
            return rest.call(method, self.address, path, body)
        except rest.RestError as error:
            raise ResourceError(f"Cannot {action}", str(error)) from error

    def read(self, action: str, path: str) -> Any:
        """Get a resource; None if it does not exist."""
        return self._unless_absent(action, "GET", path)

    def delete(self, action: str, path: str) -> None:
        """Delete a resource, if it exists."""
        self._unless_absent(action, "DELETE", path)

    def _unless_absent(self, action: str, method: str, path: str) -> Any:
        try:
            return rest.call(method, self.address, path)
        except rest.RestError as error:
            if error.status == 404:
                return None
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
    """The state, with the emulator's values of the attributes that the emulator knows.

    An attribute that is absent in the state stays absent: the emulator's default is no drift. A block that is
    absent in the state and present in the emulator is drift.
    """
    seen: Values = {}
    for name, members in fields.items():
        value: Any = live.get(camel(name))
        if not members:
            seen[name] = _observed(state.get(name), value)
            continue
        nested = block(state, name)
        found: Values = {key: value.get(camel(key)) for key in members} if value else {}
        if not any(each is not None for each in found.values()):
            seen[name] = []
        elif nested is None:
            seen[name] = [found]
        else:
            seen[name] = [nested | {key: _observed(nested.get(key), found[key]) for key in members}]
    return state | seen


def _observed(known: Any, live: Any) -> Any:
    # Emulators omit empty values and spell durations differently: "600s", "600.000s".
    same = known is None or (not known and not live) or _seconds(known) == _seconds(live)
    return known if same else live


def _seconds(value: Any) -> Any:
    """The number of seconds of a duration; any other value unchanged."""
    if isinstance(value, str) and value.endswith("s"):
        try:
            return float(value[:-1])
        except ValueError:
            return value
    return value
