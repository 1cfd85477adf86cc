"""Settings of the stack `messaging`."""

from pydantic import Field, ValidationInfo
from pydantic import field_validator as validator

from infra.environment.value_types import Section, at_least


class MessagingSettings(Section):
    """Subscriptions. Limits are those of https://cloud.google.com/pubsub/quotas#resource_limits."""

    retention_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days for which a subscription keeps messages that nobody acknowledged",
    )
    replay_days: int = Field(
        default=7,
        ge=1,
        le=31,
        description="days for which published requests can be delivered once more, by a seek",
    )
    ack_deadline_seconds: int = Field(
        default=60,
        ge=10,
        le=600,
        description="seconds after which an unacknowledged message is delivered again",
    )
    # The service itself sends invalid requests to the dead letters, at once. Attempts are for outages under
    # push delivery (20 attempts with these back-offs take more than two hours), and for requests that crash
    # it.
    max_delivery_attempts: int = Field(
        default=20, ge=5, le=100, description="deliveries after which a request goes to the dead letters"
    )
    min_backoff_seconds: int = Field(
        default=10, ge=0, le=600, description="seconds before a request is delivered for the second time"
    )
    max_backoff_seconds: int = Field(
        default=600, ge=0, le=600, description="most seconds between two deliveries of a request"
    )

    @validator("max_backoff_seconds")
    @classmethod
    def _ordered(cls, most: int, info: ValidationInfo) -> int:
        return at_least("min_backoff_seconds", most, info)
