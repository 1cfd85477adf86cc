"""Settings of the stack `observability`."""

from pydantic import Field

from infra.environment.value_types import BillingAccount, Email, Section


class AlertingSettings(Section):
    """Who is alerted."""

    email: Email = Field(description="address that alerts are mailed to")
    pagerduty: bool = Field(
        False,
        description="whether urgent alerts page somebody; the key is the variable pagerduty_service_key",
    )
    runbook: str | None = Field(
        None, min_length=1, description="URL of the runbook; without it, the file in the repository of `ci`"
    )


class BudgetSettings(Section):
    """Monthly budget of the environment."""

    billing_account: BillingAccount = Field(
        description="billing account of the project: 012345-6789AB-CDEF01"
    )
    amount: int = Field(ge=1, description="budget of a month, in the currency of the billing account")
