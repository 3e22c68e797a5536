#!/bin/sh
# Sets up what make needs, or says what this machine lacks and how to get it.
#   setup.sh venv FOLDER         a virtual environment with requirements-dev.txt
#   setup.sh npm FOLDER TITLE    the Node packages of a folder, by the npm of .venv
set -u
NEEDED_MB=1500

lacks() {
    printf '\n%s\n' "$1" >&2
    shift
    [ $# = 0 ] || printf '  %s\n' "$@" >&2
    exit 1
}

check_machine() {
    system=$(uname -s) machine=$(uname -m)
    [ "$system $machine" = "Linux x86_64" ] || lacks \
        "This machine is $system $machine. firstpull needs x86_64 Linux (its IoT Hub SDK has no other packages)." \
        "On another machine, use the amd64 container in .devcontainer/ (docker --platform linux/amd64 emulates it)."
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-$NEEDED_MB}" -ge "$NEEDED_MB" ] || lacks \
        "$free MB are free in $PWD. Setting up needs $NEEDED_MB MB." \
        "Make room, or clone to a larger disk."
}

is_python() {
    "$1" -c 'import sys; sys.exit(sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 13))' 2>/dev/null
}

# Prints a CPython 3.13 that can make virtual environments.
find_python() {
    without_venv=
    uv_python=$(command -v uv >/dev/null 2>&1 && uv python find --system 3.13 2>/dev/null)
    for candidate in "${PYTHON:-}" python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python \
        python3 python "$uv_python"; do
        [ -n "$candidate" ] && is_python "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done
    [ -z "$without_venv" ] || lacks \
        "$(command -v "$without_venv") cannot make virtual environments: its modules venv and ensurepip are missing." \
        "On Debian and Ubuntu: sudo apt install python3.13-venv"
    lacks "CPython 3.13 was not found (other versions do not do: docs/decisions/python-3-13-only.md). One of these gets it:" \
        "uv python install 3.13" \
        "pyenv install 3.13" \
        "sudo apt install python3.13 python3.13-venv    # where the distribution has it" \
        "make PYTHON=/path/to/python3.13                # if it is installed elsewhere"
}

no_packages() {
    lacks "$1 could not get its packages; above is what it said. This needs the network, once:" \
        "behind a proxy, set HTTPS_PROXY; with a mirror of the packages, set $2;" \
        "then repeat the command."
}

make_venv() {
    check_machine
    python=$(find_python) || exit 1
    echo "Setting up $1 (a minute, once) ..."
    "$python" -m venv --clear "$1" || lacks "$python -m venv failed; above is what it said."
    pip="$1/bin/python -m pip install -qq --disable-pip-version-check --no-deps"
    $pip --require-hashes -r requirements-dev.txt || no_packages pip PIP_INDEX_URL
    $pip --no-build-isolation --editable device_agent --editable cli || exit 1
}

npm_packages() {
    echo "Installing $2 (half a minute, once) ..."
    PATH="$PWD/.venv/bin:$PATH"
    (cd "$1" && npm ci --loglevel=error --no-audit --no-fund >/dev/null) || no_packages npm NPM_CONFIG_REGISTRY
}

case $1 in
venv) make_venv "$2" ;;
npm) npm_packages "$2" "$3" ;;
esac
