"""The streaming service: forecasts over Pub/Sub."""
