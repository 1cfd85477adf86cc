"""What the handlers of emulated resources share: requests with Terraform's errors, and detection of drift."""

# ruff: noqa: D102 -- `Handler` says what each method does

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from infra.simulator import emulators, rest
from infra.simulator.resources import Handler, ResourceError, Values, refusing

Fields = Mapping[str, tuple[str, ...]]
"""Attributes that the emulator knows, in Terraform's names; for a block, the names of its attributes."""


def refuse(values: Values, names: Iterable[str], what: str = "", attribute: str | None = None) -> None:
    """Raise ResourceError if one of the arguments is set; `what` names a nested block, `attribute` has it."""
    for name in names:
        if values.get(name):
            detail = f"{what}{name} has no counterpart on a laptop"
            raise ResourceError("Not simulated", detail, attribute or name)


class Emulated(Handler):
    """A resource in an emulator, whose REST interface knows it by the id that Terraform has."""

    emulator: ClassVar[str]  # pubsub, bigquery or storage
    kind: ClassVar[str]  # for messages
    root: ClassVar[str]  # beginning of its path, before its id
    fields: ClassVar[Fields] = {}  # compared with the emulator's
    read_query: ClassVar[str] = ""
    delete_query: ClassVar[str] = ""

    def name(self, values: Values) -> str:
        """Its name in messages."""
        return values["id"]

    def path(self, values: Values) -> str:
        """Its path."""
        return self.root + quote(values["id"])

    def call(
        self, action: str, method: str, path: str, body: object = None, *, missing_ok: bool = False
    ) -> Any:
        """Send a request that does something (`action`, in words); a failure is a ResourceError."""
        with refusing(f"Cannot {action}"):
            address: str = getattr(emulators.endpoints(), self.emulator)
            return rest.call(method, address, path, body, missing_ok=missing_ok)

    def make(self, values: Values, body: object, *, query: str = "", method: str = "POST") -> Any:
        """Create it, which must not exist: by POST to the path of its siblings, or by PUT to its own."""
        path = self.path(values) if method == "PUT" else self.path(values).rpartition("/")[0] + query
        try:
            return self.call(f"create {self.kind} {self.name(values)}", method, path, body)
        except ResourceError as error:
            if isinstance(error.__cause__, rest.RestError) and error.__cause__.status == 409:
                address: str = getattr(emulators.endpoints(), self.emulator)
                remedy = f"curl -X DELETE 'http://{address}{self.path(values)}{self.delete_query}'"
                error.detail = (
                    f"{error.detail.rstrip('.')}. If it is left over from an interrupted command, remove it "
                    f"and apply again: {remedy}"
                )
            raise

    def live(self, state: Values) -> Any:
        """The resource as the emulator has it, or None."""
        action, path = f"read {self.kind} {self.name(state)}", self.path(state) + self.read_query
        return self.call(action, "GET", path, missing_ok=True)

    def read(self, state: Values) -> Values | None:
        live = self.live(state)
        return observe(state, live, self.fields) if live else None

    def delete(self, state: Values) -> None:
        action, path = f"delete {self.kind} {self.name(state)}", self.path(state) + self.delete_query
        self.call(action, "DELETE", path, missing_ok=True)


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
    # Emulators omit empty values.
    same = known is None or (not known and not live) or _spelling(known) == _spelling(live)
    return known if same else live


def _spelling(value: Any) -> str:
    """One spelling of a value: durations have several ("600s", "600.000s"), REST writes integers as text."""
    text = str(value)
    try:
        return f"{float(text[:-1])}s" if text.endswith("s") else text
    except ValueError:
        return text
