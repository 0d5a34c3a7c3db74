#!/usr/bin/env bash
# Creates the environment if necessary and runs the quickstart. Arguments are
# passed to quickstart.py:
#
#   bash scripts/quickstart.sh
#   bash scripts/quickstart.sh --workdir=/tmp/runs --seed=1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment studies,tensorboard
exec "$python" "$root/scripts/quickstart.py" "$@"
