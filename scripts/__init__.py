"""Commands for people and CI: installing, bringing the platform up and down, checking it, benchmarks."""
