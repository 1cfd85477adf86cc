"""Pub/Sub topics and the schemas of their messages."""

import json
from typing import Final

import msgspec

from infra.cdk import Construct, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.google.identity import Principal
from services.contracts.schema import avro_schema


class MessageSchema(Construct):
    """The Avro schema of a message type of the contracts.

    A changed type commits a new revision; Pub/Sub refuses revisions that are incompatible with older ones
    (https://cloud.google.com/pubsub/docs/commit-schema-revision). Topics set no first or last revision, so
    they accept messages of every revision, and senders can be updated one by one. A schema has at most 20
    revisions.
    """

    def __init__(self, scope: Construct, id_: str, *, name: str, message: type[msgspec.Struct]):
        super().__init__(scope, id_)
        self.path: Final = f"projects/{place_of(self).project_id}/schemas/{name}"
        self.resource: Final = google.pubsub_schema.PubsubSchema(
            self, "Default", name=name, type="AVRO", definition=json.dumps(avro_schema(message))
        )


class Topic(Construct):
    """A topic whose messages stay in one region.

    Args:
        schema: schema of the messages, which Pub/Sub enforces; any body is accepted if absent.
        replay_days: days that a subscription can seek back, to acknowledged messages and to messages older
            than itself; no replay if absent.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        schema: MessageSchema | None = None,
        replay_days: int | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        place = place_of(self)
        self.path: Final = f"projects/{place.project_id}/topics/{name}"
        self.resource: Final = google.pubsub_topic.PubsubTopic(
            self,
            "Default",
            name=name,
            message_retention_duration=f"{replay_days * 24 * 3600}s" if replay_days else None,
            # By default a message is stored in the region nearest to its publisher.
            message_storage_policy={"allowed_persistence_regions": [place.region]},
            schema_settings={"schema": schema.path, "encoding": "JSON"} if schema else None,
            # What waits to be delivered goes with it.
            lifecycle={"prevent_destroy": place.protected},
            depends_on=[schema.resource] if schema else None,
        )
        waive(self.resource, {"CKV_GCP_83": "messages are kept for days, under Google's keys"})

    def grant_publish(self, principal: Principal) -> None:
        """Let a principal publish messages."""
        principal.grant(
            google.pubsub_topic_iam_member.PubsubTopicIamMember,
            f"publish-{self.name}",
            "roles/pubsub.publisher",
            self.resource,
            topic=self.name,
        )
