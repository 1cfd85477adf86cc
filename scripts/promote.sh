#!/usr/bin/env bash
# Give an environment the image that another one has: `scripts/promote.sh --help`. The work is in promote.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=$root exec "$root/.venv/bin/python" -P -m scripts.promote "$@"
