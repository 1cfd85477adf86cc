"""Names both the stacks and the services use. The stacks create these; the services address them."""

from typing import Final

# Pub/Sub
SALE_RANGE_TOPIC: Final = "sale-range"
SALE_PREDICTIONS_TOPIC: Final = "sale-predictions"
DEAD_LETTER_TOPIC: Final = "sale-range-dead-letter"
PREDICT_RANGE_SUBSCRIPTION: Final = "predict-range"
SALE_PREDICTIONS_SUBSCRIPTION: Final = "sale-predictions"

# Message attributes
REQUEST_ID_ATTRIBUTE: Final = "request_id"
STATUS_ATTRIBUTE: Final = "status"
REASON_ATTRIBUTE: Final = "reason"
DELIVERY_ATTEMPT_ATTRIBUTE: Final = "delivery_attempt"

# BigQuery
SALES_DATASET: Final = "sales"
SALES_TABLE: Final = "sales"
PREDICTIONS_DATASET: Final = "predictions"
PREDICTIONS_TABLE: Final = "predictions"
REQUESTS_TABLE: Final = "requests"
LATEST_PREDICTIONS_VIEW: Final = "latest_predictions"
SCORES_TABLE: Final = "scores"
TRANSIENT_SCORES_TABLE: Final = "transient_scores"
STAGING_DATASET: Final = "staging"  # rows on their way into another table

# Airflow
DAILY_DAG: Final = "sales_forecast"

# HTTP paths every service answers
LIVENESS_PATH: Final = "/healthz"
READINESS_PATH: Final = "/readyz"
METRICS_PATH: Final = "/metrics"
MODELS_PATH: Final = "/models"  # of the prediction service, for operators
PREDICT_PATH: Final = "/predict"  # of the prediction service
PUSH_PATH: Final = "/push"  # of the streaming service, for messages that Pub/Sub pushes

# Cloud Storage
MODELS_BUCKET: Final = "models"
STAGING_BUCKET: Final = "staging"  # files on their way from one step to the next


def bucket_name(project: str, purpose: str) -> str:
    """The full name of a project's bucket; like projects', bucket names are unique in the world."""
    return f"{project}-{purpose}"
