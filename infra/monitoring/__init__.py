"""Alerts, objectives and the dashboard."""
