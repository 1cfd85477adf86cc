"""What an environment may cost."""

from typing import Final

from infra.cdk import Construct, google
from infra.environment.observability import BudgetSettings
from infra.monitoring.alerting import RUNBOOK, OnCall

billing = google.billing_budget

_SPENT: Final = (0.5, 0.9, 1.0)


class Budget(Construct):
    """Mails when shares of a month's budget are spent, and when the month is going to exceed it.

    It stops nothing. Whoever applies it needs the right to make budgets on the billing account.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the environment.
        project_number: whose costs count.
        settings: billing account and amount.
        on_call: who is told.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        project_number: int,
        settings: BudgetSettings,
        on_call: OnCall,
    ):
        super().__init__(scope, id_)
        billing.BillingBudget(
            self,
            "Default",
            billing_account=settings.billing_account,
            display_name=f"{name}, see {RUNBOOK}#budget",
            budget_filter=billing.BillingBudgetBudgetFilter(
                projects=[f"projects/{project_number}"],
                # What is to be paid, not what would be without credits.
                credit_types_treatment="INCLUDE_ALL_CREDITS",
                calendar_period="MONTH",
            ),
            amount=billing.BillingBudgetAmount(
                specified_amount=billing.BillingBudgetAmountSpecifiedAmount(units=str(settings.amount))
            ),
            threshold_rules=[
                *(billing.BillingBudgetThresholdRules(threshold_percent=share) for share in _SPENT),
                billing.BillingBudgetThresholdRules(threshold_percent=1.0, spend_basis="FORECASTED_SPEND"),
            ],
            all_updates_rule=billing.BillingBudgetAllUpdatesRule(
                monitoring_notification_channels=[on_call.mail.id],
                # Not everybody who administrates the billing account of the whole organization.
                disable_default_iam_recipients=True,
            ),
        )
