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
    runbook: str = Field(
        default="docs/runbook.md",
        min_length=1,
        description="where the runbook is read: its URL, or the file of this repository",
    )


class BudgetSettings(Section):
    """Monthly budget of the environment."""

    billing_account: BillingAccount = Field(
        description="billing account of the project: 012345-6789AB-CDEF01"
    )
    amount: int = Field(ge=1, description="budget of a month, in the currency of the billing account")
