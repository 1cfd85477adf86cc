"""Schemas, topics and subscriptions in the Pub/Sub emulator.

The emulator keeps labels, message storage policies and expiration policies of what is created, but cannot
change them: they are Terraform's state only. It forwards dead letters without grants: there, a subscription
has its dead-letter policy only while Pub/Sub has both grants. BigQuery and push subscriptions are pull
subscriptions there, from which `bridge` delivers.
"""

from collections.abc import Mapping
from typing import Any, Final

from infra.simulator import bridge, inventory, rest, rules
from infra.simulator.home import locked
from infra.simulator.push import PushTarget
from infra.simulator.resources import Handler, ResourceError, Values, changed, emulated

_TOPIC: Final[emulated.Fields] = {
    "message_retention_duration": (),
    "schema_settings": ("schema", "encoding"),
}
_SUBSCRIPTION_CHANGEABLE: Final[emulated.Fields] = {
    "ack_deadline_seconds": (),
    "message_retention_duration": (),
    "retain_acked_messages": (),
    "enable_exactly_once_delivery": (),
    "retry_policy": ("minimum_backoff", "maximum_backoff"),
    "dead_letter_policy": ("dead_letter_topic", "max_delivery_attempts"),
}
_LONGEST_RETENTION_SECONDS: Final = 7 * 24 * 3600
"""For which the emulator keeps messages of a subscription; Pub/Sub does for 31 days."""
_SUBSCRIPTION_FIXED: Final[emulated.Fields] = {"filter": (), "enable_message_ordering": ()}
_SUBSCRIPTION: Final[emulated.Fields] = _SUBSCRIPTION_CHANGEABLE | _SUBSCRIPTION_FIXED


def _full_name(collection: str, values: Values, name: str) -> str:
    """`projects/<project>/<collection>/<name>`, also if `name` is one already."""
    return name if "/" in name else f"projects/{values['project']}/{collection}/{name}"


def _path(full_name: str) -> str:
    return emulated.path("v1", *full_name.split("/"))


def _mask(fields: emulated.Fields) -> str:
    return ",".join(emulated.camel(name) for name in fields)


class Schema:
    """`google_pubsub_schema`."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its identity."""
        return changed(prior, planned, "name", "project", "type")

    def create(self, planned: Values) -> Values:
        """Create the schema; the emulator parses its definition."""
        name = self._name(planned)
        _, project, collection, schema = name.split("/")
        emulated.create(
            f"create schema {name}",
            emulated.endpoints().pubsub,
            "POST",
            f"{emulated.path('v1', 'projects', project, collection)}?schemaId={schema}",
            self._body(planned),
            resource=_path(name),
        )
        return planned | {"id": name}

    def read(self, state: Values) -> Values | None:
        """The definition of the latest revision."""
        name = self._name(state)
        live = emulated.read(f"read schema {name}", emulated.endpoints().pubsub, f"{_path(name)}?view=FULL")
        return emulated.observe(state, live, {"type": (), "definition": ()}) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Commit a new revision."""
        name = self._name(planned)
        emulated.change(
            f"revise schema {name}",
            emulated.endpoints().pubsub,
            "POST",
            f"{_path(name)}:commit",
            {"schema": {"name": name} | self._body(planned)},
        )
        return planned

    def delete(self, state: Values) -> None:
        """Delete all revisions."""
        name = self._name(state)
        emulated.delete(f"delete schema {name}", emulated.endpoints().pubsub, _path(name))

    def _name(self, values: Values) -> str:
        return _full_name("schemas", values, values["name"])

    def _body(self, values: Values) -> dict[str, Any]:
        return {"type": values["type"], "definition": values["definition"]}


class Topic:
    """`google_pubsub_topic`."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its identity."""
        return changed(prior, planned, "name", "project")

    def create(self, planned: Values) -> Values:
        """Create the topic."""
        name = self._name(planned)
        emulated.create(
            f"create topic {name}",
            emulated.endpoints().pubsub,
            "PUT",
            _path(name),
            emulated.body(planned, _TOPIC),
            resource=_path(name),
        )
        return planned | {"id": name}

    def read(self, state: Values) -> Values | None:
        """Retention and schema settings; a deleted schema shows as `_deleted-schema_`."""
        name = self._name(state)
        live = emulated.read(f"read topic {name}", emulated.endpoints().pubsub, _path(name))
        return emulated.observe(state, live, _TOPIC) if live else None

    def update(self, prior: Values, planned: Values) -> Values:
        """Change retention and schema settings."""
        name = self._name(planned)
        emulated.change(
            f"update topic {name}",
            emulated.endpoints().pubsub,
            "PATCH",
            _path(name),
            {"topic": {"name": name} | emulated.body(planned, _TOPIC), "updateMask": _mask(_TOPIC)},
        )
        return planned

    def delete(self, state: Values) -> None:
        """Delete the topic; its subscriptions stay, without a topic."""
        name = self._name(state)
        emulated.delete(f"delete topic {name}", emulated.endpoints().pubsub, _path(name))

    def _name(self, values: Values) -> str:
        return _full_name("topics", values, values["name"])


class Subscription:
    """`google_pubsub_subscription`: pull, push, or to a BigQuery table."""

    def replaces(self, prior: Values, planned: Values) -> list[str]:
        """Its identity."""
        return changed(prior, planned, "name", "project", "topic", *_SUBSCRIPTION_FIXED)

    def create(self, planned: Values) -> Values:
        """Create the subscription, and start its bridge unless it is pulled."""
        name = self._name(planned)
        target = self._target(planned)
        address = emulated.endpoints().pubsub
        topic = _full_name("topics", planned, planned["topic"])
        live = emulated.create(
            f"create subscription {name}",
            address,
            "PUT",
            _path(name),
            {"topic": topic} | self._body(planned, _SUBSCRIPTION),
            resource=_path(name),
        )
        try:
            self._deliver(name, target)
        except ResourceError:
            emulated.delete(f"delete subscription {name}", address, _path(name))
            raise
        return self._observe(planned, live) | {"id": name}

    def read(self, state: Values) -> Values | None:
        """All the emulator can change.

        A deleted topic shows as `_deleted-topic_`; `bigquery_config` or `push_config` is absent when the
        bridge does not run.
        """
        name = self._name(state)
        live = emulated.read(f"read subscription {name}", emulated.endpoints().pubsub, _path(name))
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
        """Change what can be changed in place, and restart the bridge if it must."""
        name = self._name(planned)
        target = self._target(planned)
        emulated.change(
            f"update subscription {name}",
            emulated.endpoints().pubsub,
            "PATCH",
            _path(name),
            {
                "subscription": {"name": name} | self._body(planned, _SUBSCRIPTION_CHANGEABLE),
                "updateMask": _mask(_SUBSCRIPTION_CHANGEABLE),
            },
        )
        self._deliver(name, target)
        return planned

    def delete(self, state: Values) -> None:
        """Stop the bridge and delete the subscription."""
        name = self._name(state)
        bridge.stop(name)
        emulated.delete(f"delete subscription {name}", emulated.endpoints().pubsub, _path(name))

    def _name(self, values: Values) -> str:
        return _full_name("subscriptions", values, values["name"])

    def _body(self, values: Values, fields: emulated.Fields) -> Values:
        body = emulated.body(values, fields)
        if retention := body.get("messageRetentionDuration"):
            body["messageRetentionDuration"] = _kept(retention)
        return body

    def _observe(self, state: Values, live: Mapping[str, Any]) -> Values:
        seen = emulated.observe(state, live, _SUBSCRIPTION)
        wanted = state.get("message_retention_duration")
        if wanted and seen["message_retention_duration"] == _kept(wanted):
            seen["message_retention_duration"] = wanted
        if not rules.forwards_dead_letters(state):
            seen["dead_letter_policy"] = state["dead_letter_policy"]
        return seen

    def _target(self, planned: Values) -> bridge.Target | None:
        """Where a BigQuery or push subscription delivers, checked; None for any other.

        Raises:
            ResourceError: the table is not there or does not fit, or a setting is not simulated.
        """
        if planned.get("cloud_storage_config"):
            raise ResourceError(
                "Not simulated",
                "Cloud Storage subscriptions have no counterpart on a laptop",
                "cloud_storage_config",
            )
        if config := emulated.block(planned, "push_config"):
            wrapper = emulated.block(config, "no_wrapper")
            if wrapper and not wrapper.get("write_metadata"):
                raise ResourceError(
                    "Not simulated", "no_wrapper: on a laptop, only with write_metadata", "push_config"
                )
            return _push_target(config)
        config = emulated.block(planned, "bigquery_config")
        if config is None:
            return None
        if unsupported := [key for key in ("use_topic_schema", "use_table_schema") if config.get(key)]:
            raise ResourceError(
                "Not simulated",
                f"{unsupported[0]}: on a laptop, BigQuery subscriptions write the message as it is",
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
    """Give subscriptions in the emulator their dead-letter policies, or take them away, as grants have it.

    Raises:
        ResourceError: the emulator does not answer, or refuses.
    """
    field = "dead_letter_policy"
    with locked("dead-letters"):  # the last of several grants made at once finds all of them
        for subscription in inventory.all_of("google_pubsub_subscription"):
            if not subscription[field]:
                continue
            name = subscription["id"]
            fields = {field: _SUBSCRIPTION_CHANGEABLE[field]}
            policy = emulated.body(subscription, fields) if rules.forwards_dead_letters(subscription) else {}
            body = {"subscription": {"name": name} | policy, "updateMask": _mask(fields)}
            try:
                rest.call("PATCH", emulated.endpoints().pubsub, _path(name), body)
            except rest.RestError as error:
                if error.status != 404:  # it is being destroyed, or was lost with the emulator
                    raise ResourceError(f"Cannot change dead letters of {name}", str(error)) from error


def _kept(retention: str) -> str:
    """A retention as long as the emulator takes it."""
    return f"{min(float(retention.removesuffix('s')), _LONGEST_RETENTION_SECONDS):g}s"


def _table_target(config: Values) -> bridge.TableTarget:
    return bridge.TableTarget(table=config["table"], write_metadata=bool(config.get("write_metadata")))


def _push_target(config: Values) -> PushTarget:
    token = emulated.block(config, "oidc_token") or {}
    endpoint = config["push_endpoint"]
    return PushTarget(
        endpoint=endpoint,
        account=token.get("service_account_email") or "",
        audience=token.get("audience") or endpoint,
        wrapped=emulated.block(config, "no_wrapper") is None,
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "google_pubsub_schema": Schema(),
    "google_pubsub_topic": Topic(),
    "google_pubsub_subscription": Subscription(),
}
