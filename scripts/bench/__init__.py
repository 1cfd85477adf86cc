"""Benchmarks against peers: `make bench-NAME`."""
