/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of sets: one client posts, one worker collects, applies and frees; the worker may be killed before any of its steps.
 *
 * Session (client writes): cell[], tail.  Session (worker writes): mirror.  State segment (worker only): cursor, used[].
 *
 * Records are SIZE(r) cells long, never wrap (padding goes to the end first), and carry a header in the first cell and a key in the
 * last. The worker copies headers when it collects and reads the key when it applies: as src/store/pass.c does. used[r] stands for
 * the record's grant: published once, it is no grant any more, so that a record that is collected again does nothing.
 *
 * Safety: what is applied is what was posted, in order, each once. Liveness: the client is never left waiting (no invalid end
 * state). Broken variants: see `run`.
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#define N 4                                     /* cells of the ring */
#define M 5                                     /* records */
#define SIZE(r) (2 - ((r) % 2))
#define PAD 200

byte head[N], key[N];                           /* two words of a cell */
byte tail, mirror;                              /* positions */
byte cursor;                                    /* state segment */
bool used[M];
byte applied;                                   /* ghost: records applied */
byte crashes = CRASHES;
bool dead;

active proctype killer() {
end: do
  :: atomic { crashes > 0 && !dead -> crashes--; dead = true }
  od
}

active proctype client() {
  byte r, at, pad, t;
  do
  :: r == M -> break
  :: else ->
     at = t % N;
     pad = ((N - at < SIZE(r)) -> N - at : 0);
#ifdef ROOM_OFF_BY_ONE
     (t + SIZE(r) + pad - mirror <= N + 1);     /* acquire */
#else
     (t + SIZE(r) + pad - mirror <= N);
#endif
     if
     :: pad > 0 -> head[at] = PAD; t = t + pad; at = 0
     :: else
     fi;
#ifdef TAIL_NOT_RELEASE
     tail = t + SIZE(r);
     head[at] = r;
     key[at + SIZE(r) - 1] = r;
#else
     head[at] = r;
     key[at + SIZE(r) - 1] = r;
     tail = t + SIZE(r);                        /* release */
#endif
     t = t + SIZE(r);
     r++
  od;
  mirror == t;                                  /* the last set is waited for */
  assert(applied == M)
}

active proctype worker() {
  byte from, to, n, i, at, r;
  byte rec[N], pos[N];                          /* the batch: private */
again:
  {
    skip;
end_idle:
    tail != from;
    to = tail; n = 0;                        /* L1 */
    do                                       /* L2: headers are copied now */
    :: from == to -> break
    :: else ->
       at = from % N;
       r = head[at];
       if
       :: r == PAD -> rec[n] = PAD; from = from + N - at
       :: else -> assert(r < M); rec[n] = r; from = from + SIZE(r)
       fi;
       pos[n] = from;                        /* behind the record */
       n++
    od;
#ifdef MIRROR_AT_COLLECT
    mirror = from;
#endif
    i = 0;
    do                                       /* L3 */
    :: i == n -> break
    :: else ->
       r = rec[i];
       if
       :: r == PAD
       :: else ->
          assert(key[(pos[i] + N - 1) % N] == r);   /* the key is read here */
          if
#ifdef NO_GRANT_CHECK
          :: true ->
#else
          :: used[r]                         /* applied before a kill */
          :: else ->
#endif
             d_step { assert(r == applied); used[r] = true; applied++ }
          fi
       fi;
#ifdef MIRROR_BEFORE_STATE
       mirror = pos[i];
       cursor = pos[i];
#else
       cursor = pos[i];
#ifndef MIRROR_AT_COLLECT
       mirror = pos[i];
#endif
#endif
       i++
    od;
    goto end_idle
  } unless { dead };
  n = 0; i = 0; r = 0; at = 0; to = 0;
#ifdef CURSOR_RESET
  from = 0;
#else
  from = cursor;
#endif
#ifndef NO_REPOST
  mirror = cursor;                              /* a kill may have come between the two stores */
#endif
  dead = false;
  goto again
}
