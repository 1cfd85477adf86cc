"""Settings of the stack `messaging`."""

from pydantic import Field

from infra.environment.value_types import Section


class MessagingSettings(Section):
    """Retention. Limits are those of https://cloud.google.com/pubsub/quotas#resource_limits."""

    retention_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days that a subscription keeps messages that nobody has acknowledged",
    )
    replay_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days that published requests can be delivered again, by a seek",
    )
