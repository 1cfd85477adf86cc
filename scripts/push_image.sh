#!/usr/bin/env bash
# Build, prove, push and pin an image: `scripts/push_image.sh --help`. The work is in push_image.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=$root exec "$root/.venv/bin/python" -P -m scripts.push_image "$@"
