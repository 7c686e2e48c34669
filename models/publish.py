#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publish without waiting: exhaustive search over every interleaving, with a linearizability monitor.

One key (linearizability is per key), one worker thread (a shard), one session per client. Each session has a ring of sets and a
request slot; the state segment survives a killed worker, the worker's own variables do not. A client may be killed after any step,
the worker before any step. The monitor keeps every way to linearize the history so far; none left = violation, and the
shortest trace is printed.

Usage: publish.py [quick | VARIANT]   exit 0 if the protocol passes and every broken variant fails; one variant prints its trace
quick: the protocol on four of the nine scenarios
"""
import sys
from collections import deque

# ---- variants: one thing taken away from the protocol, or the design text as first written
VARIANTS = {
    "protocol": "the protocol: must pass",
    "as-first-written": "look, then post and return; inserts visible to readers at once; drain before a miss",
    "no-unsettled": "inserts are readable at once (post then look is kept)",
    "no-client-fence": "the look is ordered before the post (missing full fence in the writer)",
    "settle-early": "settled without another pass over the rings (missing fence or pass in the worker)",
    "single-pass": "a request is answered after the pass that found it, without another",
    "no-tickets": "sets are applied in order of arrival",
    "nx-own-ticket": "an NX insert keeps its own ticket instead of the oldest one",
    "delete-no-drain": "a delete is executed in the pass that found it",
    "complete-before-done": "the completion is posted before the state says that the request is done",
    "discard-ring": "a dead client's ring is thrown away",
    "wipe-settled": "recovery empties the index, then inserts its objects as settled",
    "nx-in-doubt": "recovery executes again an NX that had been committed but not marked done",
    "clock-before-tails": "tickets are cut to a clock that was read before the rings' tails",
    "partial-pass": "requests are executed after a pass that could not read all rings",
}

# ---- scenarios: (programs, worker kills, client kills)
S, D, N, G, F = "set", "del", "nx", "get", "fget"     # fget: a get once all others are done
SCENARIOS = [
    ([[(S, 1)], [(S, 2)], [(G,), (G,), (F,)]], 1, 0),
    ([[(S, 1)], [(S, 2)], [(G,), (F,)]], 1, 1),
    ([[(S, 1)], [(D,), (S, 2)], [(G,), (F,)]], 1, 0),
    ([[(S, 1), (S, 3)], [(S, 2), (D,)], [(G,), (F,)]], 0, 0),
    ([[(S, 1)], [(N, 2)], [(G,), (F,)]], 1, 0),
    ([[(S, 1), (D,)], [(S, 2)], [(F,)]], 1, 1),
    ([[(D,), (S, 2)], [(S, 1)], [(F,)]], 1, 0),
    ([[(S, 1), (D,)], [(G,), (F,)]], 1, 0),
    ([[(S, 1)], [(D,)], [(F,)]], 1, 1),
]

HINT = {"nx-own-ticket": [4], "nx-in-doubt": [4], "delete-no-drain": [2], "complete-before-done": [6], "discard-ring": [8], "partial-pass": [4, 7]}
QUICK = [2, 4, 7, 8]
OK = "ok"


def linearize(cfgs, pending, op, res, prog):
    """All configurations in which op has taken effect with result res, op then forgotten."""
    seen, todo, out = set(cfgs), list(cfgs), set()
    while todo:
        val, done = todo.pop()
        for o, r in done:
            if o == op and r == res:
                out.add((val, done - {(o, r)}))
        took = {o for o, _ in done}
        for o in pending:
            if o in took:
                continue
            k = prog[o[0]][o[1]]
            if k[0] == S:
                n, r = k[1], OK
            elif k[0] == D:
                n, r = 0, OK
            elif k[0] == N:
                n, r = (k[1], True) if val == 0 else (val, False)
            else:
                n, r = val, val
            c = (n, done | {(o, r)})
            if c not in seen:
                seen.add(c)
                todo.append(c)
    return frozenset(out)


# state fields
(CLK, IDX, ST, RING, CUR, REQ, DONE, COMP, CL, WK, WKILL, CKILL, CFG, PEND) = range(14)


def explore(prog, wkills, ckills, variant, limit=6_000_000):
    n = len(prog)
    fresh = ("collect", 0, (0,) * n, (None,) * n, (None,) * n, False, None)
    # worker: pc, ring number, ring tails, requests seen in this pass, requests seen in the pass before, was present before the pass,
    # clock (of one broken variant)
    init = (1, None, None, ((),) * n, (0,) * n, (None,) * n, (None,) * n, frozenset(), tuple((0, 0, 0) for _ in prog),
            fresh, wkills, ckills, frozenset({(0, frozenset())}), frozenset())
    parent, todo = {init: None}, deque([init])

    def put(t, i, v):
        return t[:i] + (v,) + t[i + 1:]

    def upd(s, **kw):
        l = list(s)
        for k, v in kw.items():
            l[globals()[k]] = v
        return tuple(l)

    def invoke(s, op):
        return upd(s, PEND=s[PEND] | {op})

    def ret(s, op, res):
        c, i = op
        cfg = linearize(s[CFG], s[PEND], op, res, prog)
        return upd(s, CFG=cfg, PEND=s[PEND] - {op}, COMP=frozenset(x for x in s[COMP] if x[0] != op),
                   CL=put(s[CL], c, (i + 1, 0, 0)))

    def client(s, c):
        st = s[CL][c]
        if st == "dead":
            return
        if s[CKILL] and variant == "discard-ring" and st[1] == 0 and st[0] > 0:  # after its set returned
            yield f"c{c} killed", upd(s, CL=put(s[CL], c, "dead"), CKILL=s[CKILL] - 1, RING=put(s[RING], c, s[RING][c][:s[CUR][c]]))
        if st[0] >= len(prog[c]):
            return
        i, pc, x = st
        op, k = (c, i), prog[c][i]
        go = lambda s, pc, x=0: upd(s, CL=put(s[CL], c, (i, pc, x)))
        post = lambda s, t: upd(s, RING=put(s[RING], c, s[RING][c] + ((op, k[1], t),)))
        comp = dict(s[COMP])
        if k[0] == F:
            if any(s[CL][j] != "dead" and s[CL][j][0] < len(prog[j]) for j in range(n) if j != c) and pc == 0:
                return
        if k[0] == S:
            if variant == "as-first-written":
                if pc == 0:
                    yield f"c{c} set {k[1]}: looks, {'absent' if s[IDX] is None else 'present'}", go(invoke(s, op), 1, s[IDX] is None)
                elif pc == 1:
                    yield f"c{c} takes ticket {s[CLK]}", go(upd(s, CLK=s[CLK] + 1), 2, (x, s[CLK]))
                elif pc == 2:
                    t = post(s, x[1])
                    yield f"c{c} posts set {k[1]} t{x[1]}" + (", returns" if x[0] else ""), ret(t, op, OK) if x[0] else go(t, 9)
            elif variant == "no-client-fence":
                if pc == 0:
                    yield f"c{c} set {k[1]}: ticket {s[CLK]}", go(upd(invoke(s, op), CLK=s[CLK] + 1), 1, s[CLK])
                elif pc == 1:
                    yield f"c{c} looks, {'absent' if s[IDX] is None else 'present'}", go(s, 2, (s[IDX] is None, x))
                elif pc == 2:
                    t = post(s, x[1])
                    yield f"c{c} posts set {k[1]} t{x[1]}" + (", returns" if x[0] else ""), ret(t, op, OK) if x[0] else go(t, 9)
            else:
                if pc == 0:
                    yield f"c{c} set {k[1]}: ticket {s[CLK]}", go(upd(invoke(s, op), CLK=s[CLK] + 1), 1, s[CLK])
                elif pc == 1:
                    yield f"c{c} posts set {k[1]} t{x}", go(post(s, x), 2)
                elif pc == 2:
                    if s[IDX] is None:
                        yield f"c{c} looks, absent, returns", ret(s, op, OK)
                    else:
                        yield f"c{c} looks, present, waits", go(s, 9)
        elif k[0] in (G, F):
            if pc == 0:
                ix = s[IDX]
                if ix is not None and (ix[2] or variant in ("as-first-written", "no-unsettled")):
                    yield f"c{c} get hits {ix[0]}", ret(invoke(s, op), op, ix[0])
                else:
                    yield f"c{c} get misses, asks", go(upd(invoke(s, op), REQ=put(s[REQ], c, (op, 0))), 9)
        else:
            if pc == 0:
                yield f"c{c} {k[0]}: ticket {s[CLK]}, asks", go(upd(invoke(s, op), CLK=s[CLK] + 1, REQ=put(s[REQ], c, (op, s[CLK]))), 9)
        if pc == 9 and op in comp:
            yield f"c{c} {k[0]} returns {comp[op]}", ret(s, op, comp[op])
        if s[CKILL] and 0 < pc:
            t = upd(s, CL=put(s[CL], c, "dead"), CKILL=s[CKILL] - 1)
            if variant == "discard-ring":
                t = upd(t, RING=put(s[RING], c, s[RING][c][:s[CUR][c]]))
            yield f"c{c} killed", t

    def complete(s, op, res):
        c, i = op
        cl = s[CL][c]
        if cl == "dead" or cl[0] != i or any(o == op for o, _ in s[COMP]):
            return s                                  # a completion carries its request's number: a late second one is ignored
        return upd(s, COMP=s[COMP] | {(op, res)})

    def batch(s, tails, now, before, clock):
        """What this pass may execute: all collected sets by ticket, then the requests that were there before the pass began."""
        b = []
        for c in range(n):
            for j in range(s[CUR][c], min(tails[c], len(s[RING][c]))):
                op, v, t = s[RING][c][j]
                t = t if clock is None else min(t, clock)
                b.append((0, t, S, c, op, v))
        if variant != "no-tickets":
            b.sort()
        early = variant == "as-first-written" or variant == "single-pass"
        for c in range(n):
            r = now[c] if early or (variant == "delete-no-drain" and now[c] and prog[c][now[c][0][1]][0] == D) else before[c]
            if r is not None and not (s[DONE][c] and s[DONE][c][0] == r[0]):
                op, t = r
                k = prog[c][op[1]]
                b.append((1, t, k[0], c, op, k[1] if len(k) > 1 else 0))
        return tuple(b)

    def worker(s):
        w = s[WK]
        if w == "dead":
            ix = None
            if s[ST] is not None:
                ix = (s[ST][0], s[ST][1], variant in ("as-first-written", "no-unsettled", "wipe-settled"))
            t = upd(s, IDX=ix, WK=fresh[:5] + (ix is not None, None))
            if variant == "wipe-settled" and s[IDX] is not None:
                yield "worker restarts, wipes the index", upd(s, IDX=None)
            if s[ST] is not None and variant != "nx-in-doubt":   # the one record in doubt is finished before anything else
                c, i = s[ST][2]
                if prog[c][i][0] == N and not (s[DONE][c] and s[DONE][c][0] == (c, i)):
                    t = upd(t, DONE=put(t[DONE], c, ((c, i), True)))
            s = upd(s, DONE=t[DONE])
            for c in range(n):                        # completions that were never posted are posted again
                for j in range(min(s[CUR][c], len(s[RING][c]))):
                    t = complete(t, s[RING][c][j][0], OK)
                if s[DONE][c]:
                    t = complete(t, *s[DONE][c])
            yield "worker restarts, index follows the state", t
            return
        if s[WKILL]:
            yield "worker killed", upd(s, WK="dead", WKILL=s[WKILL] - 1)
        pc = w[0]
        go = lambda s, w: upd(s, WK=w)
        if pc == "collect":
            _, c, tails, now, before, present, clock = w
            if variant == "clock-before-tails" and clock is None:
                yield "worker reads the clock", go(s, w[:6] + (s[CLK],))
            elif c < n:
                seen = put(now, c, s[REQ][c])
                yield f"worker reads ring {c}", go(s, ("collect", c + 1, put(tails, c, len(s[RING][c])), seen, before, present, clock))
                if variant == "partial-pass":
                    yield f"worker cannot read ring {c}", go(s, ("collect", c + 1, tails, seen, before, False, clock))
            else:
                yield "worker sorts", go(s, ("apply", batch(s, tails, now, before, clock), 0, now, present))
            return
        _, b, step, now, present = w
        if not b:
            ix = s[IDX]
            if ix is not None and not ix[2] and (present or variant == "settle-early"):
                ix = (ix[0], ix[1], True)
            cur = s[CUR]
            yield "worker ends the pass", go(upd(s, IDX=ix), ("collect", 0, (0,) * n, (None,) * n, now, ix is not None and not ix[2], None))
            return
        _, t, kind, c, op, v = b[0]
        st = s[ST]
        # what to do, decided afresh from the state at every step (so it's the same after step 0 as before)
        if kind == S:
            mine = st is not None and st[2] == op
            write = not mine and (st is None or variant == "no-tickets" or st[1] <= t)
            new, res = ((v, t, op) if write else st), OK
        elif kind == D:
            new, res = None, OK
        elif kind == N:
            mine = st is not None and st[2] == op
            new = (v, t if variant == "nx-own-ticket" else 0, op) if st is None else st
            res = st is None or mine
        else:
            new, res = st, (0 if st is None else st[0])
        settled = s[IDX] is not None and s[IDX][2]
        if variant in ("as-first-written", "no-unsettled"):
            settled = True
        ix = None if new is None else (new[0], new[1], settled)
        nxt = ("apply", b, step + 1, now, present and new is not None)
        order = ["state", "index", "done", "complete"]
        if variant == "complete-before-done":
            order = ["state", "index", "complete", "done"]
        what = order[step]
        if what == "state":
            yield f"worker commits {kind} {v} of c{c}", go(upd(s, ST=new), nxt)
        elif what == "index":
            yield f"worker updates the index for {kind} {v} of c{c}", go(upd(s, IDX=ix), nxt)
        elif what == "done":
            if kind == S:
                u = upd(s, CUR=put(s[CUR], c, s[CUR][c] + 1))
            else:
                u = upd(s, DONE=put(s[DONE], c, (op, res)))
            if order[3] == "done":
                nxt = ("apply", b[1:], 0, now, nxt[4])
            yield f"worker marks {kind} {v} of c{c} done", go(u, nxt)
        else:
            if kind == N:
                res = st is not None and st[2] == op
            if order[3] == "complete":
                nxt = ("apply", b[1:], 0, now, nxt[4])
            if s[DONE][c] and s[DONE][c][0] == op:
                res = s[DONE][c][1]
            yield f"worker completes {kind} {v} of c{c}", go(complete(s, op, res), nxt)

    while todo:
        s = todo.popleft()
        if len(parent) > limit:
            return len(parent), "state limit"
        for gen in [client(s, c) for c in range(n)] + [worker(s)]:
            for what, t in gen:
                if t in parent:
                    continue
                parent[t] = (s, what)
                if not t[CFG]:
                    trace, x = [], t
                    while parent[x]:
                        trace.append(parent[x][1])
                        x = parent[x][0]
                    return len(parent), trace[::-1]
                todo.append(t)
    return len(parent), None


def main():
    quick = sys.argv[1:] == ["quick"]
    names = list(VARIANTS) if quick or not sys.argv[1:] else sys.argv[1:]
    bad = 0
    for v in names:
        total, found = 0, None
        for prog, wk, ck in [SCENARIOS[i] for i in HINT.get(v, QUICK if quick and v == "protocol" else range(len(SCENARIOS)))]:
            k, trace = explore(prog, wk, ck, v)
            total += k
            print(f"  {v}: {prog} kills {wk}+{ck}: {k} states {'' if trace is None else 'VIOLATION' if trace != 'state limit' else trace}", file=sys.stderr)
            if trace is not None:
                found = (prog, trace)
                break
        want = v != "protocol"
        good = (found is not None and found[1] != "state limit") == want and (want or found is None)
        bad += not good
        print(f"{'ok  ' if good else 'BAD '} {v:22} {total:9} states  {'counterexample' if found else 'no violation'}  ({VARIANTS[v]})", flush=True)
        if found and (len(names) == 1 or not want):
            print("     programs:", found[0])
            for line in found[1] if isinstance(found[1], list) else [found[1]]:
                print("      ", line)
    return bad


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
