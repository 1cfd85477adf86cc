"""Airflow, and who is told when something needs a person."""

from tests.stacks.synthesized import Synthesis

AIRFLOW = "serviceAccount:sales-forecast-airflow@sales-forecast-prod.iam.gserviceaccount.com"


def test_airflow_waits_until_it_may_work(synthesis: Synthesis) -> None:
    orchestration = synthesis.stack("prod-orchestration")
    grant = orchestration.address("google_project_iam_member", role="roles/composer.worker", member=AIRFLOW)
    orchestration.one(
        "google_composer_environment",
        name="sales-forecast",
        region="europe-west1",
        config={
            "enable_private_environment": True,
            "node_config": {
                "network": "projects/sales-forecast-prod/global/networks/sales-forecast",
                "service_account": AIRFLOW.removeprefix("serviceAccount:"),
            },
            "software_config": {"image_version": "composer-3-airflow-3.3.1-build.0"},
        },
        depends_on=[grant],
    )


def test_airflow_reads_data_and_writes_models(synthesis: Synthesis) -> None:
    grants = synthesis.stack("prod-orchestration").all("google_storage_bucket_iam_member").values()
    assert {(each["bucket"], each["role"]) for each in grants} == {
        ("sales-forecast-prod-data", "roles/storage.objectViewer"),
        ("sales-forecast-prod-models", "roles/storage.objectUser"),
        ("sales-forecast-prod-staging", "roles/storage.objectUser"),
    }
    assert {each["member"] for each in grants} == {AIRFLOW}


def test_somebody_hears_of_dead_letters(synthesis: Synthesis) -> None:
    observability = synthesis.stack("prod-observability")
    mailbox = observability.address(
        "google_monitoring_notification_channel",
        type="email",
        labels={"email_address": "sales-forecast-prod@example.com"},
    )
    alert = observability.one("google_monitoring_alert_policy", notification_channels=[f"${{{mailbox}.id}}"])
    (condition,) = alert["conditions"]
    threshold = condition["condition_threshold"]
    synthesis.stack("prod-messaging").one("google_pubsub_subscription", name="sale-range-dead-letter")
    assert 'resource.labels.subscription_id = "sale-range-dead-letter"' in threshold["filter"]
    assert (threshold["comparison"], threshold["threshold_value"]) == ("COMPARISON_GT", 0)
    assert "reason" in alert["documentation"]["content"]
