"""Metrics that objectives and alerts are about: the services export them, the stacks query them.

Names are as the Prometheus client takes them; of a counter it exports `<name>_total`. Buckets are seconds: an
objective's limit is one of them, for between two bounds nobody knows how many requests there were.
"""

from typing import Final

# prediction
REQUESTS: Final = "prediction_requests"
"""Counter of answers, by the labels `route`, `method` and `code` (the HTTP status)."""
REQUEST_DURATION: Final = "prediction_request_duration_seconds"
"""Histogram of the time from the headers of a request to its answer, by the label `route`."""
REQUEST_DURATION_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5
)  # fmt: skip

# streaming
MESSAGES: Final = "streaming_messages"
"""Counter of messages by the labels `kind` (passive, active, invalid) and `outcome`: acknowledged, released
(to come again), duplicate (answered before, acknowledged)."""
MESSAGE_LATENCY: Final = "streaming_message_latency_seconds"
"""Histogram of the time from publishing a request to acknowledging it."""
MESSAGE_LATENCY_BUCKETS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0
)  # fmt: skip
OLDEST_MESSAGE_AGE: Final = "streaming_oldest_message_age_seconds"
"""Gauge of the age of the oldest message that is being answered."""

# both
MODEL_AGE: Final = "model_age_seconds"
"""Gauge of the time since the model served was trained."""
