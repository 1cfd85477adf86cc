"""Who is told when something needs a person."""

from tests.stacks.synthesized import Synthesis


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
