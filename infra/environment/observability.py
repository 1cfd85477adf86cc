"""Settings of the stack `observability`."""

from pydantic import Field
from pydantic import field_validator as validator

from infra.environment.value_types import BillingAccount, ContradictionError, Email, Section, Share
from services.contracts.metrics import MESSAGE_LATENCY_BUCKETS, REQUEST_DURATION_BUCKETS


class AlertingSettings(Section):
    """Notification channels and thresholds of alerts."""

    email: Email = Field(description="address that alerts are mailed to")
    pagerduty: bool = Field(
        False,
        description="whether urgent alerts page somebody; the key is the variable pagerduty_service_key",
    )
    runbook: str = Field(
        default="docs/runbook.md",
        min_length=1,
        description="where the runbook is read: its URL, or the file of this repository",
    )
    oldest_message_seconds: int = Field(600, ge=60, description="age of a waiting request that is too old")
    backlog_messages: int = Field(10_000, ge=1, description="waiting requests that are too many")
    error_percent: int = Field(
        5,
        ge=1,
        le=100,
        description="percent of requests at the Gateway that are too many to fail",
    )
    latency_seconds: float = Field(
        1.0, gt=0, description="time within which 99 of 100 requests at the Gateway are to be answered"
    )
    model_age_days: int = Field(14, ge=1, description="age of the model served at which it is stale")


class ObjectiveSettings(Section):
    """Service level objectives: shares of the requests in a rolling period."""

    days: int = Field(
        default=28, ge=1, le=30, description="length of the period; weeks have the same weekdays"
    )
    availability: Share = Field(default=0.999, description="share of HTTP requests without a fault of ours")
    latency: Share = Field(default=0.99, description="share of HTTP requests answered within latency_seconds")
    latency_seconds: float = Field(default=0.1, description="time to answer an HTTP request")
    freshness: Share = Field(
        default=0.99, description="share of Pub/Sub requests answered within freshness_seconds"
    )
    freshness_seconds: float = Field(default=30.0, description="time to answer a Pub/Sub request")

    @validator("latency_seconds")
    @classmethod
    def _measured(cls, seconds: float) -> float:
        return _among(REQUEST_DURATION_BUCKETS, seconds)

    @validator("freshness_seconds")
    @classmethod
    def _measured_too(cls, seconds: float) -> float:
        return _among(MESSAGE_LATENCY_BUCKETS, seconds)


class BudgetSettings(Section):
    """Monthly budget of the environment."""

    billing_account: BillingAccount = Field(
        description="billing account of the project: 012345-6789AB-CDEF01"
    )
    amount: int = Field(ge=1, description="budget of a month, in the currency of the billing account")


def _among(bounds: tuple[float, ...], seconds: float) -> float:
    if seconds not in bounds:
        known = ", ".join(f"{bound:g}" for bound in bounds)
        raise ContradictionError(((), f"expected a bound of the histogram: {known}; found {seconds:g}"))
    return seconds
