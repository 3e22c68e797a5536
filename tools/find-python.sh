#!/bin/sh
# Prints a CPython 3.13, or says how to get one.
set -u
works() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; }

if [ "$(uname -m)" != x86_64 ]; then
    echo "firstpull runs on x86_64: azure-iot-hub needs uamqp, which has no other Linux wheels." >&2
    echo "Use the amd64 devcontainer in .devcontainer/." >&2
    exit 1
fi
for candidate in "${PYTHON:-}" python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python python3 python; do
    if [ -n "$candidate" ] && works "$candidate"; then
        command -v "$candidate"
        exit 0
    fi
done
if command -v uv >/dev/null 2>&1 && found=$(uv python find 3.13 2>/dev/null); then
    echo "$found"
    exit 0
fi
echo "CPython 3.13 was not found. Install it (python3.13 and python3.13-venv, pyenv or uv)," >&2
echo "or set PYTHON to one." >&2
exit 1
