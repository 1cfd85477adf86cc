#!/usr/bin/env bash
# Make what must exist before the first deployment: `scripts/bootstrap.sh --help`. The work is in bootstrap.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=$root exec "$root/.venv/bin/python" -P -m scripts.bootstrap "$@"
