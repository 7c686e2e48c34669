#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run_all.sh - every benchmark of this directory, on workers that it starts and stops itself.
#
# Writes bench/results/<date>-<cpu>.json and the table in docs/benchmarks.md. Takes about ten
# minutes on an otherwise idle machine; --quick takes about two and writes nothing into docs/.
#
#   BIN        directory of dsbench and dscli (build/release/bin)
#   PYTHON     an interpreter with the package (build/venv/bin/python), for the rows from Python
#   MEMORY_MB  memory of the worker (4096)
#   TRACE      a request trace in the Mooncake JSONL form (a generated one)
#   OBJECTS    objects for the footprint (10000000 where 8 GiB are available, else 1000000)
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
quick=
case ${1:-} in
"") ;;
--quick) quick=yes ;;
*) sed -n '4,14s/^# \{0,1\}//p' "$0"; [ "$1" = --help ]; exit ;;
esac

BIN=${BIN:-$root/build/release/bin}
PYTHON=${PYTHON:-$root/build/venv/bin/python}
MEMORY_MB=${MEMORY_MB:-4096}
available_kb=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
if [ -z "${OBJECTS:-}" ]; then
    OBJECTS=1000000
    [ -n "$quick" ] || [ "$available_kb" -lt $((8 << 20)) ] || OBJECTS=10000000
fi
if [ -n "$quick" ]; then
    options=(--rounds 2 --seconds 0.1)
    rounds=2
else
    options=()
    rounds=5
fi

die() { printf 'run_all: %s\n' "$*" >&2; exit 1; }
[ -x "$BIN/dsbench" ] && [ -x "$BIN/dscli" ] || die "no dsbench or dscli in $BIN: build first"
any_python=python3
[ -x "$PYTHON" ] && any_python=$PYTHON

work=$(mktemp -d) || die "no temporary directory"
address=
stop_worker() {
    [ -z "$address" ] || (cd "$work" && "$BIN/dscli" stop --worker_address "$address") >/dev/null
    address=
}
trap 'stop_worker; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

start_worker() { # MiB
    address=127.0.0.1:$("$any_python" -c 'import socket; s = socket.socket()
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    (cd "$work" && "$BIN/dscli" start -w --worker_address "$address" \
        --shared_memory_size_mb "$1") >"$work/start.log" 2>&1 ||
        { cat "$work/start.log" >&2; address=; die "the worker did not start"; }
    sleep 3 # it reserves pages in the background
}

failed=
bench() { # NAME COMMAND...: the command's JSON goes to a file of that name
    local name=$1
    shift
    printf '\n== %s\n' "$name" >&2
    "$@" >"$work/$name.json" || { failed="$failed $name"; rm -f "$work/$name.json"; }
}

# How many system calls N hits make: those of a run with many hits less those of one with few.
count_calls() { # HITS
    strace -f -c -U calls,name -o "$work/strace" "$BIN/dsbench" latency --worker "$address" \
        --size-max 64 --rounds 1 --hits "$1" >/dev/null &&
        awk '/total$/ { print $1 }' "$work/strace"
}
system_calls() {
    local few many
    few=$(count_calls 1000) && many=$(count_calls 1001000) || return 1
    printf '{"bench":"system calls","facts":{"hits":4000000,"calls":%d},"rows":[]}\n' \
        $((many - few))
}

arena() {
    "$BIN/arena_bench" >"$work/arena.txt" || return 1
    "$any_python" -c 'import json, sys
print(json.dumps({"bench": "arena", "facts": {}, "rows": [], "text": sys.stdin.read()}))' \
        <"$work/arena.txt"
}

start_worker "$MEMORY_MB"
for name in latency set copy batch mixed; do
    bench $name "$BIN/dsbench" $name --worker "$address" --json ${options[@]+"${options[@]}"}
done
if command -v strace >/dev/null; then
    bench system-calls system_calls
fi
if [ -x "$PYTHON" ] && "$PYTHON" -c 'import yr.datasystem' 2>/dev/null; then
    bench python "$PYTHON" "$root/bench/py_latency.py" --worker "$address" --json --rounds $rounds
fi
stop_worker

if [ -z "${TRACE:-}" ]; then
    TRACE=$work/trace
    "$BIN/dsbench" generate --seed 1 --requests 12000 >"$TRACE" 2>/dev/null
fi
start_worker 1024
bench replay "$BIN/dsbench" replay --worker "$address" --trace "$TRACE" --verify --json
stop_worker

bench footprint "$BIN/dsbench" footprint --objects "$OBJECTS" --json \
    --rounds $((rounds > 3 ? 3 : rounds))
if [ "$OBJECTS" -gt 1000000 ]; then # the restart's target is for a million
    bench footprint-1m "$BIN/dsbench" footprint --only-objects --json
fi
if [ -x "$BIN/arena_bench" ] && [ -z "$quick" ]; then
    bench arena arena
fi

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
slug=${cpu:-$(uname -m)}
slug=$(printf '%s' "$slug" | tr '[:upper:]' '[:lower:]' | tr -cs '[:alnum:]' '-' | sed 's/-*$//')
out=$root/bench/results/$(date +%F)-$slug.json
[ -z "$quick" ] || out=$work/quick.json
mkdir -p "$(dirname "$out")"
"$any_python" "$root/bench/report.py" merge "$out" "$work"/*.json || die "report.py failed"
if [ -z "$quick" ]; then
    "$any_python" "$root/bench/report.py" update "$root/docs/benchmarks.md" "$out"
    printf '\nwritten: %s, docs/benchmarks.md\n' "${out#"$root"/}"
else
    "$any_python" "$root/bench/report.py" table "$out"
fi
[ -z "$failed" ] || die "failed:$failed"
