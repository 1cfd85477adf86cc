"""Others that serve the same forecast, for `bench_serving`; each runs in an environment of its own."""
