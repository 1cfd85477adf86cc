"""Budget of an environment."""

from infra.cdk import Construct, google
from infra.cdk.stack import place_of
from infra.monitoring.alerting import OnCall


class Budget(Construct):
    """A mail when shares of the monthly budget are spent, and when the forecast for the month exceeds it.

    It stops nothing. Applying it takes the right to create budgets on the billing account.

    Args:
        amount: of a month, in the currency of the billing account.
    """

    def __init__(self, scope: Construct, id_: str, *, billing_account: str, amount: int, on_call: OnCall):
        super().__init__(scope, id_)
        place = place_of(self)
        project = place.project_id
        # A person's credentials belong to no project, and this API wants one that pays for the call.
        quota = google.provider.GoogleProvider(
            self, "quota", alias="quota", project=project, user_project_override=True, billing_project=project
        )
        google.billing_budget.BillingBudget(
            self,
            "Default",
            provider=quota,
            billing_account=billing_account,
            display_name=f"{place.name}, see docs/runbook.md#budget",
            budget_filter={
                "projects": [f"projects/{place.project_number}"],
                # The amount to pay, after credits.
                "credit_types_treatment": "INCLUDE_ALL_CREDITS",
                "calendar_period": "MONTH",
            },
            amount={"specified_amount": {"units": str(amount)}},
            threshold_rules=[
                *({"threshold_percent": share} for share in (0.5, 0.9, 1.0)),
                {"threshold_percent": 1.0, "spend_basis": "FORECASTED_SPEND"},
            ],
            all_updates_rule={
                "monitoring_notification_channels": [on_call.mail.id],
                # Administrators of the billing account are those of the whole organization.
                "disable_default_iam_recipients": True,
            },
        )
