"""Pub/Sub topics and the schemas of their messages."""

import json
from typing import Final

import msgspec

from infra.cdk import Construct, google
from infra.cdk.waivers import waive
from infra.google.identity import Principal
from services.contracts.schema import avro_schema

pubsub = google.pubsub_topic


class MessageSchema(Construct):
    """The Avro schema of a message type of the contracts.

    A changed type commits a new revision, and Pub/Sub refuses one that breaks the older ones
    (https://cloud.google.com/pubsub/docs/commit-schema-revision). Topics name no first or last revision, so
    they take messages of all: senders change one after the other, not all at once. A schema has at most 20
    revisions.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the schema.
        name: of the schema; unique in the project.
        message: type of a message.

    Attributes:
        path: full resource name, `projects/<project>/schemas/<name>`.
    """

    def __init__(self, scope: Construct, id_: str, *, project: str, name: str, message: type[msgspec.Struct]):
        super().__init__(scope, id_)
        self.path: Final = f"projects/{project}/schemas/{name}"
        self.resource: Final = google.pubsub_schema.PubsubSchema(
            self, "Default", name=name, type="AVRO", definition=json.dumps(avro_schema(message))
        )


class Topic(Construct):
    """A topic whose messages stay in one region.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the topic.
        name: of the topic; unique in the project.
        region: where messages are stored.
        schema: of a message; Pub/Sub refuses anything else. Any body is taken if absent.
        replay_days: for how long a subscription can seek back to messages that it has acknowledged, or that
            are older than itself; not at all if absent.

    Attributes:
        path: full resource name, `projects/<project>/topics/<name>`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        project: str,
        name: str,
        region: str,
        schema: MessageSchema | None = None,
        replay_days: int | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        self.path: Final = f"projects/{project}/topics/{name}"
        self.resource: Final = pubsub.PubsubTopic(
            self,
            "Default",
            name=name,
            message_retention_duration=f"{replay_days * 24 * 3600}s" if replay_days else None,
            # By default a message is stored in the region nearest to who published it.
            message_storage_policy=pubsub.PubsubTopicMessageStoragePolicy(
                allowed_persistence_regions=[region]
            ),
            schema_settings=pubsub.PubsubTopicSchemaSettings(schema=schema.path, encoding="JSON")
            if schema
            else None,
            depends_on=[schema.resource] if schema else None,
        )
        waive(self.resource, {"CKV_GCP_83": "messages are kept for days, under Google's keys"})

    def grant_publish(self, principal: Principal) -> None:
        """Let somebody publish messages."""
        google.pubsub_topic_iam_member.PubsubTopicIamMember(
            principal,
            f"publish-{self.name}",
            topic=self.name,
            role="roles/pubsub.publisher",
            member=principal.member,
            depends_on=principal.depends_on(self.resource),
        )
