"""Pub/Sub topics and the schema of their messages."""

import json
from typing import Final

import msgspec

from infra.identity import Principal
from infra.providers import (
    Construct,
    PubsubSchema,
    PubsubTopic,
    PubsubTopicIamMember,
    PubsubTopicSchemaSettings,
)
from services.contracts.schema import avro_schema


class Topic(Construct):
    """A topic.

    Args:
        scope: where it belongs.
        id_: its id there.
        project: of the topic.
        name: of the topic; unique in the project.
        message: type of a message; Pub/Sub refuses anything else. Any body is taken if absent.

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
        message: type[msgspec.Struct] | None = None,
    ):
        super().__init__(scope, id_)
        self._name = name
        self.path: Final = f"projects/{project}/topics/{name}"
        settings, after = None, None
        if message is not None:
            schema = PubsubSchema(
                self, "schema", name=name, type="AVRO", definition=json.dumps(avro_schema(message))
            )
            settings = PubsubTopicSchemaSettings(schema=f"projects/{project}/schemas/{name}", encoding="JSON")
            after = [schema]
        self.resource: Final = PubsubTopic(
            self, "Default", name=name, schema_settings=settings, depends_on=after
        )

    def grant_publish(self, principal: Principal) -> None:
        """Let somebody publish messages."""
        PubsubTopicIamMember(
            principal,
            f"publish-{self._name}",
            topic=self._name,
            role="roles/pubsub.publisher",
            member=principal.member,
            depends_on=principal.depends_on(self.resource),
        )
