#!/usr/bin/env bash
# Every command of this folder is a link to this file: `scripts/diff --help` runs `python -m scripts.diff --help`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
[[ -x $python ]] || { echo "not installed yet: run \`make install\` in $root" >&2; exit 1; }
PYTHONPATH=$root exec "$python" -P -m "scripts.$(basename "$0" .sh)" "$@"
