# Sourced by quickstart.sh and test.sh: `environment EXTRA` makes sure that a
# Python environment has this package (editable) and the extra installed. It sets
# `root` to the repository and `python` to the environment's interpreter.
#
# The environment is the folder KERAS_FFL_VENV, else the active one, else .venv
# in the repository. PYTHON names the interpreter used to create a new one.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  echo "error: $*" >&2
  exit 1
}

# TensorFlow 2.21 has no wheels for Python 3.14.
supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    >/dev/null 2>&1
}

fail_unsupported() {
  fail "Python 3.11, 3.12 or 3.13 is needed, but $1 is" \
    "$("$1" --version 2>/dev/null || echo "no Python"); set $2"
}

make_venv() {
  local base candidates=(python3.11 python3.12 python3.13 python3 python)
  [[ -z "${PYTHON:-}" ]] || candidates=("$PYTHON")
  # Run instead of looked up: version managers have shims for all versions,
  # enabled or not.
  for base in "${candidates[@]}"; do
    if supported "$base"; then
      echo "making the environment $1 with $("$base" --version)"
      "$base" -m venv "$1" || fail "$base can't make an environment in $1"
      return
    fi
  done
  fail_unsupported "${PYTHON:-python3}" "PYTHON to another"
}

environment() {
  local extra="$1" venv stamp wanted
  venv="${KERAS_FFL_VENV:-${VIRTUAL_ENV:-$root/.venv}}"
  [[ -x "$venv/bin/python" ]] || make_venv "$venv"
  venv="$(cd "$venv" && pwd)"
  python="$venv/bin/python"
  supported "$python" || fail_unsupported "$python" "KERAS_FFL_VENV to another"

  # Reinstall only if the requirements have changed.
  stamp="$venv/keras_ffl.stamp"
  wanted="$({
    echo "$root"
    cat "$root/setup.py"
    grep '^__version__' "$root/keras_ffl/__init__.py"
  } | cksum)"
  # The extra `test` includes everything that quickstart.sh needs.
  case "$(cat "$stamp" 2>/dev/null)" in
    "$wanted:$extra" | "$wanted:test") return ;;
  esac
  echo "installing keras_ffl with the extra '$extra' into $venv" \
    "(minutes, the first time)"
  # An environment whose creation was interrupted has no pip.
  "$python" -m pip --version >/dev/null 2>&1 ||
    "$python" -m ensurepip >/dev/null 2>&1 ||
    fail "$venv has no pip; install Python's venv module and delete $venv"
  "$python" -m pip install --disable-pip-version-check \
    --editable "$root[$extra]" ||
    fail "the installation into $venv failed; pip says why above"
  echo "$wanted:$extra" >"$stamp"
}
