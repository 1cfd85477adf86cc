"""Requests and replies over Pub/Sub."""
