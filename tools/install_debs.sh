#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what tools/debian-packages.txt names and the system lacks, in one apt-get call.
set -eu
cd "$(dirname "$0")"

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: please install the equivalents of tools/debian-packages.txt" >&2
    exit 0
fi
missing=
while read -r package; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
    *"ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done <debian-packages.txt
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get update -qq >"$log" 2>&1 &&
    $sudo apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
