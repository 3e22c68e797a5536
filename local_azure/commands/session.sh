#!/bin/sh
# A device from its registration to its first pull, on the local Azure of `make up`.
# Usage: try [DEVICE]
set -eu
DEVICE=${1:-gateway-1}
REPOSITORY=hello-world
here=$(cd "$(dirname "$0")" && pwd)
. "$here/azure.env"
device_folder=$(mktemp -d)
trap 'rm -rf "$device_folder"' EXIT
command -v curl >/dev/null || { echo "curl is missing: sudo apt install curl" >&2; exit 1; }

step() { printf '\n# %s\n' "$1"; }
# Of the JSON in standard input, what a Python expression says of `it`.
of() { "$PYTHON" -c "import json, sys; it = json.load(sys.stdin); print(($1))"; }
hub() { # METHOD PATH [BODY]
    curl -sS --fail --cacert "$CA_BUNDLE" -X "$1" -H "Authorization: Bearer $TOKEN" \
        -H 'Content-Type: application/json' ${3:+-d "$3"} \
        "https://$IOT_HUB_HOSTNAME/$2?api-version=2021-04-12"
}
agent() { # COMMAND OPTIONS
    "$PYTHON" -m firstpull_agent "$@" --engine oci --state-dir "$device_folder"
}

step "register $DEVICE in the hub"
TOKEN=$(curl -sS -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" \
    "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://iothubs.azure.net" |
    of 'it["access_token"]')
{ hub GET "devices/$DEVICE" 2>/dev/null || hub PUT "devices/$DEVICE" "{\"deviceId\": \"$DEVICE\"}"; } |
    of 'it["deviceId"] + " is " + it["status"]'

step "ask firstpull for its credential, and wait until it is delivered"
ask() {
    curl -sS -X POST "$FIRSTPULL_URL/api/devices" \
        -H "x-functions-key: $FIRSTPULL_KEY" -H 'Prefer: wait=20' \
        -d "{\"deviceId\": \"$DEVICE\", \"connectedRegistry\": \"$CONNECTED_REGISTRY\",
             \"repositories\": [\"$REPOSITORY\"]}" |
        of 'it["state"] + ": " + it["condition"]["message"] if "state" in it else sys.exit(str(it))'
}
said=$(ask)
while case $said in Pending* | Converging* | Waiting*) ;; *) false ;; esac do said=$(ask); done
echo "$said"

step "its twin has address, username and password"
DESIRED=$(hub GET "twins/$DEVICE" | of 'json.dumps(it["properties"]["desired"])')
printf '%s' "$DESIRED" | of "{name: value for name, value in
    it['firstpull']['registryCredentials']['$CONNECTED_REGISTRY'].items()
    if name in ('address', 'username', 'expiresOn')}"

step "the device's agent logs in, after the next sync of $CONNECTED_REGISTRY"
printf '%s' "$DESIRED" | agent apply --wait 60 --device-id "$DEVICE"

step "the first pull"
agent pull "$REPOSITORY"
echo
echo "Go on:  .venv/bin/firstpull status    .venv/bin/firstpull device $DEVICE    .venv/bin/firstpull revoke $DEVICE"
