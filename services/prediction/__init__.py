"""The prediction service: forecasts over HTTP."""
