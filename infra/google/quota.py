"""Caps on what a project uses of a Google service."""

from infra.cdk import Construct, TerraformResource, google
from infra.cdk.stack import place_of

preference = google.cloud_quotas_quota_preference


def cap_queries(scope: Construct, *, gigabytes: int, email: str, after: TerraformResource) -> None:
    """Cap what each person and account may query in BigQuery on a day; a query beyond it fails.

    By default there is no cap for one user: https://cloud.google.com/bigquery/docs/custom-quotas. Google
    deletes no cap: a destruction leaves it, and `scripts/bootstrap.sh` imports it before a new deployment.
    """
    place = place_of(scope)
    preference.CloudQuotasQuotaPreference(
        scope,
        "queries-per-user",
        parent=f"projects/{place.project_id}",
        name="bigquery-queries-per-user",
        service="bigquery.googleapis.com",
        quota_id="QueryUsagePerUserPerDay",
        quota_config=preference.CloudQuotasQuotaPreferenceQuotaConfig(
            preferred_value=str(gigabytes * 1024)  # in MiB
        ),
        # The first cap is a decrease from no limit; a higher one later is a request, which names a person.
        ignore_safety_checks="QUOTA_DECREASE_PERCENTAGE_TOO_HIGH",
        contact_email=email,
        depends_on=[after],
    )
