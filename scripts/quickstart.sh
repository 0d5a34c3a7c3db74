#!/usr/bin/env bash
# Makes the environment if there is none and runs the quickstart. Arguments go
# to quickstart.py:
#
#   bash scripts/quickstart.sh
#   bash scripts/quickstart.sh --workdir=/tmp/runs --seed=1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment studies
exec "$python" "$root/scripts/quickstart.py" "$@"
