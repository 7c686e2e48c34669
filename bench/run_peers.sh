#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run_peers.sh OUT NAME=ADAPTER.so@URL... - several caches in one run of the peer benchmark.
#
# Runs the driver of HARNESS (../shared/bench) on each cache in turn, ROUNDS times (3) over, so that
# a disturbance of the machine meets all of them. Results go to OUT/NAME-<round>.json. The servers
# must be running; README.md says how to start them. ARGS are options of the driver (--tests ACD).
#
#   bench/run_peers.sh out ds=build/release/lib/ds-adapter.so@127.0.0.1:31501 \
#       redis=out/redis.so@unix:/tmp/redis.sock yr=out/yr.so@127.0.0.1:31601
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ $# -lt 2 ]; then
    sed -n '4,11s/^# \{0,1\}//p' "$0"
    [ "${1:-}" = --help ]
    exit
fi
out=$1
shift
HARNESS=${HARNESS:-$root/../shared/bench}
mkdir -p "$out"
[ -x "$out/bench" ] || make -C "$HARNESS" OUT="$(cd "$out" && pwd)" "$(cd "$out" && pwd)/bench"
for round in $(seq "${ROUNDS:-3}"); do
    for peer in "$@"; do
        name=${peer%%=*}
        rest=${peer#*=}
        so=${rest%%@*}
        case $so in /*) ;; *) so=./$so ;; esac
        printf '\n== round %s: %s\n' "$round" "$name"
        # shellcheck disable=SC2086
        "$out/bench" "$so" "${rest#*@}" "$out/$name-$round.json" --tag "$name" ${ARGS:-}
    done
done
