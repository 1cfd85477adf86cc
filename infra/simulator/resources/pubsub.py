"""Schemas, topics and subscriptions in the Pub/Sub emulator.

Labels, message storage policies and expiration policies are only recorded in Terraform's state, because the
emulator cannot change them. The emulator forwards dead letters without grants, so a subscription has its
dead-letter policy in the emulator only while Pub/Sub has both grants. BigQuery and push subscriptions are
pull subscriptions in the emulator, from which `bridge` delivers.
"""

# ruff: noqa: D102 -- `Handler` says what each method does

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from infra.simulator import bridge, inventory, rules
from infra.simulator.home import locked
from infra.simulator.resources import ResourceError, Values, emulated, refusing

_NOT_SIMULATED: Final = (
    "cloud_storage_config",
    "enable_exactly_once_delivery",
    "enable_message_ordering",
    "filter",
    "retain_acked_messages",
)
_MAX_RETENTION_SECONDS: Final = 7 * 24 * 3600  # of the emulator; Pub/Sub allows 31 days


class _Emulated(emulated.Emulated):
    emulator, root = "pubsub", "/v1/"

    def create(self, planned: Values) -> Values:
        self.make(planned, self.body(planned), method="PUT")
        return planned

    def update(self, prior: Values, planned: Values) -> Values:
        self.patch(planned, self.body(planned), self.fields)
        return planned

    def body(self, values: Values) -> Values:
        return emulated.body(values, self.fields)

    def patch(
        self, values: Values, body: Values, fields: emulated.Fields, *, missing_ok: bool = False
    ) -> None:
        """Set fields to those of a body; those that it lacks are removed."""
        mask = ",".join(emulated.camel(name) for name in fields)
        request = {self.kind: {"name": values["id"]} | body, "updateMask": mask}
        action = f"update {self.kind} {values['id']}"
        self.call(action, "PATCH", self.path(values), request, missing_ok=missing_ok)


class Schema(_Emulated):
    """`google_pubsub_schema`."""

    kind, read_query = "schema", "?view=FULL"
    fields: ClassVar[emulated.Fields] = {"type": (), "definition": ()}

    def create(self, planned: Values) -> Values:
        self.make(planned, self.body(planned), query=f"?schemaId={planned['name']}")
        return planned

    def update(self, prior: Values, planned: Values) -> Values:
        """Commit a new revision, if messages of one can be read by the other."""
        action = f"revise schema {planned['id']}"
        if planned["type"] == "AVRO":
            before, after = (json.loads(each["definition"]) for each in (prior, planned))
            if reason := _incompatible(before, after):
                raise ResourceError(f"Cannot {action}", reason, "definition")
        revision = {"schema": {"name": planned["id"]} | self.body(planned)}
        self.call(action, "POST", f"{self.path(planned)}:commit", revision)
        return planned


class Topic(_Emulated):
    """`google_pubsub_topic`. A deleted schema shows as `_deleted-schema_`."""

    kind = "topic"
    fields: ClassVar[emulated.Fields] = {
        "message_retention_duration": (),
        "schema_settings": ("schema", "encoding"),
    }


class Subscription(_Emulated):
    """`google_pubsub_subscription`."""

    kind = "subscription"
    fields: ClassVar[emulated.Fields] = {
        "ack_deadline_seconds": (),
        "message_retention_duration": (),
        "retry_policy": ("minimum_backoff", "maximum_backoff"),
        "dead_letter_policy": ("dead_letter_topic", "max_delivery_attempts"),
    }

    def create(self, planned: Values) -> Values:
        target = _checked_target(planned)
        body = {"topic": _topic(planned)} | self.body(planned)
        live = self.make(planned, body, method="PUT")
        try:
            _deliver(planned["id"], target)
        except ResourceError:
            super().delete(planned)
            raise
        return self._observe(planned, live)

    def read(self, state: Values) -> Values | None:
        """The state, without `bigquery_config` or `push_config` while the bridge does not run."""
        live = self.live(state)
        if live is None:
            return None
        seen = self._observe(state, live)
        if live["topic"] != _topic(state):
            seen["topic"] = live["topic"]  # `_deleted-topic_`
        if (target := _target(state)) and not bridge.runs(state["id"], target):
            seen |= {"bigquery_config": [], "push_config": []}
        return seen

    def update(self, prior: Values, planned: Values) -> Values:
        target = _checked_target(planned)
        super().update(prior, planned)
        _deliver(planned["id"], target)
        return planned

    def delete(self, state: Values) -> None:
        bridge.stop(state["id"])
        super().delete(state)

    def body(self, values: Values) -> Values:
        body = super().body(values)
        if retention := body.get("messageRetentionDuration"):
            body["messageRetentionDuration"] = _emulated_retention(retention)
        return body

    def _observe(self, state: Values, live: Mapping[str, Any]) -> Values:
        seen = emulated.observe(state, live, self.fields)
        wanted = state.get("message_retention_duration")
        if wanted and seen["message_retention_duration"] == _emulated_retention(wanted):
            seen["message_retention_duration"] = wanted
        if not rules.forwards_dead_letters(state):
            seen["dead_letter_policy"] = state["dead_letter_policy"]
        return seen


def settle_dead_letters() -> None:
    """Set or remove the dead-letter policies of subscriptions in the emulator, depending on their grants.

    Raises:
        ResourceError: the emulator does not answer, or refuses.
    """
    fields = {"dead_letter_policy": Subscription.fields["dead_letter_policy"]}
    with locked("dead-letters"):  # of several concurrent grants, the last one sees all of them
        for each in inventory.all_of("google_pubsub_subscription"):
            if each["dead_letter_policy"]:
                policy = emulated.body(each, fields) if rules.forwards_dead_letters(each) else {}
                # It may be missing: being destroyed, or lost with the emulator.
                Subscription().patch(each, policy, fields, missing_ok=True)


def _topic(values: Values) -> str:
    topic: str = values["topic"]
    return topic if "/" in topic else f"projects/{values['project']}/topics/{topic}"


def _target(values: Values) -> bridge.Target | None:
    """None for a pull subscription."""
    if config := emulated.block(values, "push_config"):
        (token,) = config["oidc_token"]
        endpoint = config["push_endpoint"]
        return bridge.PushTarget(endpoint, token["service_account_email"], token.get("audience") or endpoint)
    config = emulated.block(values, "bigquery_config")
    return bridge.TableTarget(config["table"]) if config else None


def _checked_target(planned: Values) -> bridge.Target | None:
    """The same for a subscription to be created or changed, unless an argument is not simulated."""
    emulated.refuse(planned, _NOT_SIMULATED)
    push, table = (emulated.block(planned, kind) for kind in ("push_config", "bigquery_config"))
    if push and (push.get("no_wrapper") or not push.get("oidc_token")):
        detail = "push_config: on a laptop, only with oidc_token and without no_wrapper"
        raise ResourceError("Not simulated", detail, "push_config")
    has_schema = table and (table.get("use_topic_schema") or table.get("use_table_schema"))
    if table and (has_schema or not table["write_metadata"]):
        detail = "bigquery_config: on a laptop, only with write_metadata and without a schema"
        raise ResourceError("Not simulated", detail, "bigquery_config")
    target = _target(planned)
    if isinstance(target, bridge.TableTarget):
        with refusing(f"Cannot write messages of {planned['id']} to BigQuery", "bigquery_config"):
            target.check()
    return target


def _deliver(name: str, target: bridge.Target | None) -> None:
    if target is None:
        bridge.stop(name)
    elif not bridge.runs(name, target):
        with refusing(f"Cannot start the bridge of {name}"):
            bridge.start(name, target)


def _incompatible(before: Any, after: Any) -> str | None:
    """Why two Avro types cannot read each other's messages, or None; Pub/Sub checks both directions."""
    if not all(isinstance(each, dict) and each["type"] == "record" for each in (before, after)):
        return None if before == after else f"type {after} cannot be read as {before}"
    old, new = ({field["name"]: field for field in each["fields"]} for each in (before, after))
    for name, field in {**old, **new}.items():
        if name in old and name in new:
            if reason := _incompatible(old[name]["type"], new[name]["type"]):
                return f"field {name}: {reason}"
        elif "default" not in field:
            return f"field {name} has no default, so it can be neither added nor removed"
    return None


def _emulated_retention(retention: str) -> str:
    return f"{min(float(retention.removesuffix('s')), _MAX_RETENTION_SECONDS):g}s"
