#!/usr/bin/env bash
# The commands of this folder are links to this file: `scripts/diff` runs `python -m scripts diff`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ -x $root/.venv/bin/python ]] || { echo "not installed yet: run \`make install\` in $root" >&2; exit 1; }
PYTHONPATH=$root exec "$root/.venv/bin/python" -P -m scripts "$(basename "$0" .sh)" "$@"
