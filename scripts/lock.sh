#!/usr/bin/env bash
# Resolve every dependency group into requirements/<group>.lock: versions and hashes only, no index addresses.
# `dev` holds all services; their own locks are constrained by it, so that tests see the versions images get.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    local group=$1
    shift
    build/venvs/tools/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
        --group "pyproject.toml:$group" --output-file "requirements/$group.lock" "$@"
}

python3 scripts/laptop/install.py
compile dev
for group in infra prediction streaming batch; do
    compile "$group" --constraint requirements/dev.lock
done
compile airflow
compile checkov
compile operators --no-deps
compile simulator
compile tools
compile data --no-deps
