#!/usr/bin/env bash
# Creates the environment if necessary and runs all checks. Arguments are passed
# to pytest:
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/losses -k temperature
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment test
cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
# Warnings, such as of broken links, are errors (--quiet would hide them).
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict
# Two processes: a single one can't keep two cores busy with small tests.
"$python" -m pytest -n 2 --dist worksteal "$@"
