"""What runs on the platform. Nothing here imports `infra` or `stacks`."""
