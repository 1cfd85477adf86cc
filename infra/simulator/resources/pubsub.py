"""Schemas, topics and subscriptions in the Pub/Sub emulator.

Labels, message storage policies and expiration policies are only recorded in Terraform's state, because the
emulator cannot change them. The emulator forwards dead letters without grants, so a subscription has its
dead-letter policy in the emulator only while Pub/Sub has both grants. BigQuery and push subscriptions are
pull subscriptions in the emulator, from which `bridge` delivers.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import json
from collections.abc import Mapping
from typing import Any, Final

from infra.simulator import bridge, inventory, rest, rules
from infra.simulator.home import locked
from infra.simulator.push import PushTarget
from infra.simulator.resources import Handler, ResourceError, Values, emulated

_PUBSUB: Final = emulated.Service("pubsub")
_TOPIC: Final[emulated.Fields] = {
    "message_retention_duration": (),
    "schema_settings": ("schema", "encoding"),
}
_SUBSCRIPTION: Final[emulated.Fields] = {
    "ack_deadline_seconds": (),
    "message_retention_duration": (),
    "retry_policy": ("minimum_backoff", "maximum_backoff"),
    "dead_letter_policy": ("dead_letter_topic", "max_delivery_attempts"),
}
_NOT_SIMULATED: Final = (
    "cloud_storage_config",
    "enable_exactly_once_delivery",
    "enable_message_ordering",
    "filter",
    "retain_acked_messages",
)
_MAX_RETENTION_SECONDS: Final = 7 * 24 * 3600
"""Longest message retention of the emulator; Pub/Sub allows 31 days."""


def _full_name(collection: str, values: Values, name: str) -> str:
    """`projects/<project>/<collection>/<name>`, if `name` does not have this form already."""
    return name if "/" in name else f"projects/{values['project']}/{collection}/{name}"


def _path(full_name: str) -> str:
    return emulated.path("v1", *full_name.split("/"))


def _mask(fields: emulated.Fields) -> str:
    return ",".join(emulated.camel(name) for name in fields)


class _Named(Handler):
    """A resource whose full name is `projects/<project>/<kind>s/<name>`."""

    kind: str

    def delete(self, state: Values) -> None:
        """Delete it; subscriptions of a topic stay, without a topic."""
        name = self._name(state)
        _PUBSUB.delete(f"delete {self.kind} {name}", _path(name))

    def _name(self, values: Values) -> str:
        return _full_name(f"{self.kind}s", values, values["name"])


class Schema(_Named):
    """`google_pubsub_schema`."""

    kind = "schema"

    def create(self, planned: Values) -> Values:
        name = self._name(planned)
        _, project, collection, schema = name.split("/")
        _PUBSUB.create(
            f"create schema {name}",
            "POST",
            f"{emulated.path('v1', 'projects', project, collection)}?schemaId={schema}",
            self._body(planned),
            resource=_path(name),
        )
        return planned | {"id": name}

    def read(self, state: Values) -> Values | None:
        name = self._name(state)
        live = _PUBSUB.read(f"read schema {name}", f"{_path(name)}?view=FULL")
        return emulated.observe(state, live, {"type": (), "definition": ()}) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Commit a new revision, if messages of one can be read by the other."""
        name = self._name(planned)
        if planned["type"] == "AVRO":
            before, after = (json.loads(each["definition"]) for each in (prior, planned))
            if reason := _incompatible(before, after):
                raise ResourceError(f"Cannot revise schema {name}", reason, "definition")
        _PUBSUB.change(
            f"revise schema {name}",
            "POST",
            f"{_path(name)}:commit",
            {"schema": {"name": name} | self._body(planned)},
        )
        return planned

    def _body(self, values: Values) -> dict[str, Any]:
        return {"type": values["type"], "definition": values["definition"]}


class Topic(_Named):
    """`google_pubsub_topic`."""

    kind = "topic"

    def create(self, planned: Values) -> Values:
        name = self._name(planned)
        _PUBSUB.create(
            f"create topic {name}",
            "PUT",
            _path(name),
            emulated.body(planned, _TOPIC),
            resource=_path(name),
        )
        return planned | {"id": name}

    def read(self, state: Values) -> Values | None:
        """Retention and schema settings; a deleted schema shows as `_deleted-schema_`."""
        name = self._name(state)
        live = _PUBSUB.read(f"read topic {name}", _path(name))
        return emulated.observe(state, live, _TOPIC) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        name = self._name(planned)
        _PUBSUB.change(
            f"update topic {name}",
            "PATCH",
            _path(name),
            {"topic": {"name": name} | emulated.body(planned, _TOPIC), "updateMask": _mask(_TOPIC)},
        )
        return planned


class Subscription(_Named):
    """`google_pubsub_subscription`: pull, push, or to a BigQuery table."""

    kind = "subscription"

    def create(self, planned: Values) -> Values:
        name = self._name(planned)
        target = self._target(planned)
        topic = _full_name("topics", planned, planned["topic"])
        live = _PUBSUB.create(
            f"create subscription {name}",
            "PUT",
            _path(name),
            {"topic": topic} | self._body(planned),
            resource=_path(name),
        )
        try:
            self._deliver(name, target)
        except ResourceError:
            _PUBSUB.delete(f"delete subscription {name}", _path(name))
            raise
        return self._observe(planned, live) | {"id": name}

    def read(self, state: Values) -> Values | None:
        """Everything that the emulator can change.

        A deleted topic appears as `_deleted-topic_`. `bigquery_config` or `push_config` is absent while the
        bridge does not run.
        """
        name = self._name(state)
        live = _PUBSUB.read(f"read subscription {name}", _path(name))
        if live is None:
            return None
        seen = self._observe(state, live)
        if live["topic"] != _full_name("topics", state, state["topic"]):
            seen["topic"] = live["topic"]
        for kind, target in (("bigquery_config", _table_target), ("push_config", _push_target)):
            if config := emulated.block(state, kind):
                seen[kind] = [config] if bridge.runs(name, target(config)) else []
        return seen

    def update(self, prior: Values, planned: Values) -> Values:
        name = self._name(planned)
        target = self._target(planned)
        _PUBSUB.change(
            f"update subscription {name}",
            "PATCH",
            _path(name),
            {
                "subscription": {"name": name} | self._body(planned),
                "updateMask": _mask(_SUBSCRIPTION),
            },
        )
        self._deliver(name, target)
        return planned

    def delete(self, state: Values) -> None:
        bridge.stop(self._name(state))
        super().delete(state)

    def _body(self, values: Values) -> Values:
        body = emulated.body(values, _SUBSCRIPTION)
        if retention := body.get("messageRetentionDuration"):
            body["messageRetentionDuration"] = _emulated_retention(retention)
        return body

    def _observe(self, state: Values, live: Mapping[str, Any]) -> Values:
        seen = emulated.observe(state, live, _SUBSCRIPTION)
        wanted = state.get("message_retention_duration")
        if wanted and seen["message_retention_duration"] == _emulated_retention(wanted):
            seen["message_retention_duration"] = wanted
        if not rules.forwards_dead_letters(state):
            seen["dead_letter_policy"] = state["dead_letter_policy"]
        return seen

    def _target(self, planned: Values) -> bridge.Target | None:
        """The checked target of a BigQuery or push subscription; None for a pull subscription.

        Raises:
            ResourceError: the table does not exist or does not fit, or an argument is not simulated.
        """
        emulated.refuse(planned, _NOT_SIMULATED)
        if config := emulated.block(planned, "push_config"):
            if config.get("no_wrapper") or not config.get("oidc_token"):
                raise ResourceError(
                    "Not simulated",
                    "push_config: on a laptop, only with oidc_token and without no_wrapper",
                    "push_config",
                )
            return _push_target(config)
        config = emulated.block(planned, "bigquery_config")
        if config is None:
            return None
        if config.get("use_topic_schema") or config.get("use_table_schema") or not config["write_metadata"]:
            raise ResourceError(
                "Not simulated",
                "bigquery_config: on a laptop, only with write_metadata and without a schema",
                "bigquery_config",
            )
        target = _table_target(config)
        try:
            bridge.check(target)
        except bridge.BridgeError as error:
            raise ResourceError(
                f"Cannot write messages of {self._name(planned)} to BigQuery", str(error), "bigquery_config"
            ) from error
        return target

    def _deliver(self, name: str, target: bridge.Target | None) -> None:
        if target is None:
            bridge.stop(name)
        elif not bridge.runs(name, target):
            try:
                bridge.start(name, target)
            except bridge.BridgeError as error:
                raise ResourceError(f"Cannot start the bridge of {name}", str(error)) from error


def settle_dead_letters() -> None:
    """Set or remove the dead-letter policies of subscriptions in the emulator, depending on their grants.

    Raises:
        ResourceError: the emulator does not answer, or refuses.
    """
    field = "dead_letter_policy"
    with locked("dead-letters"):  # of several concurrent grants, the last one sees all of them
        for subscription in inventory.all_of("google_pubsub_subscription"):
            if not subscription[field]:
                continue
            name = subscription["id"]
            fields = {field: _SUBSCRIPTION[field]}
            policy = emulated.body(subscription, fields) if rules.forwards_dead_letters(subscription) else {}
            body = {"subscription": {"name": name} | policy, "updateMask": _mask(fields)}
            try:
                rest.call("PATCH", _PUBSUB.address, _path(name), body)
            except rest.RestError as error:
                if error.status != 404:  # being destroyed, or lost with the emulator
                    raise ResourceError(f"Cannot change dead letters of {name}", str(error)) from error


def _incompatible(before: Any, after: Any) -> str | None:
    """Why two Avro types cannot read each other's messages, or None; Pub/Sub checks both directions."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return None if before == after else f"type {after} cannot be read as {before}"
    if before["type"] != after["type"] or before["type"] != "record":
        return None if before == after else f"type {after['type']} cannot be read as {before['type']}"
    old, new = ({field["name"]: field for field in each["fields"]} for each in (before, after))
    for name, field in {**old, **new}.items():
        if name in old and name in new:
            if reason := _incompatible(old[name]["type"], new[name]["type"]):
                return f"field {name}: {reason}"
        elif "default" not in field:
            return f"field {name} has no default, so it can be neither added nor removed"
    return None


def _emulated_retention(retention: str) -> str:
    """A retention, cut to the longest that the emulator allows."""
    return f"{min(float(retention.removesuffix('s')), _MAX_RETENTION_SECONDS):g}s"


def _table_target(config: Values) -> bridge.TableTarget:
    return bridge.TableTarget(config["table"])


def _push_target(config: Values) -> PushTarget:
    (token,) = config["oidc_token"]
    endpoint = config["push_endpoint"]
    return PushTarget(endpoint, token["service_account_email"], token.get("audience") or endpoint)


HANDLERS: Final[Mapping[str, Handler]] = {
    "google_pubsub_schema": Schema(),
    "google_pubsub_topic": Topic(),
    "google_pubsub_subscription": Subscription(),
}
