/* SPDX-License-Identifier: Apache-2.0 */
/* Pin and reclaim: lock-free readers in other processes against the one worker that publishes, unpublishes, frees and reuses.
 *
 * Index segment (clients read only): bucket, and per descriptor gen (odd = published), place, obj.
 * State segment (worker only):      per descriptor st, gen, place, obj. It is what a restarted worker starts from.
 * Session segments (client writes): one pin slot per reader.
 *
 * Each shared access is one step. A store followed by a full fence is a step of its own. Without the fence (broken variants) the
 * reader's pin store, or the worker's unpublish store, sits in a one-entry store buffer that drains at any later time: the
 * store-then-load reordering of x86 and arm64. An unpin that is not a release passes the loads before it: arm64. The worker may be
 * killed before any of its steps; it comes back, CRASHES times.
 *
 * The worker looks only at slots below `used`, which the readers, threads of one process, raise before they use a slot for the first
 * time; `used_here` is what that process remembers, so that the shared word is written once.
 *
 * Safety: a reader that passed its check finds its object's bytes unchanged until it unpins.
 *
 * Broken variants, each of which must fail: see the list in `run`.
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef OBJS
#define OBJS 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define NR 2
#define ND 2
#define NONE 255
#define FREE 0
#define LIVE 1
#define DOOMED 2
#ifdef GENWRAP
#define NEXTGEN(g) (((g) + 1) % 4)
#else
#define NEXTGEN(g) ((g) + 1)
#endif

byte bucket = NONE, gen[ND], place[ND], obj[ND];
byte mem[ND];
byte pin[NR] = NONE, used, used_here;
byte st[ND], sgen[ND], splace[ND], sobj[ND];
byte nextobj = 1, crashes = CRASHES;
bool dead = false;

bool rpend[NR]; byte rval[NR];                  /* readers' store buffers */
bool wpend; byte wd, wg;                        /* the worker's store buffer: gen[wd] = wg */

active proctype drain() {
end: do
#ifdef NO_READER_FENCE
  :: atomic { rpend[0] -> pin[0] = rval[0]; rpend[0] = false }
  :: atomic { rpend[1] -> pin[1] = rval[1]; rpend[1] = false }
#endif
#ifdef NO_WORKER_FENCE
  :: atomic { wpend -> gen[wd] = wg; wpend = false }
#endif
  :: false
  od
}

active proctype killer() {
end: do
  :: atomic { crashes > 0 && !dead -> crashes--; dead = true }
  od
}

active [NR] proctype reader() {
  byte me = _pid - 2, n = 0, d, g, p, o;
  do
  :: n == ROUNDS -> break
  :: else -> n++;
     d = bucket;
     if
     :: d == NONE -> skip
     :: else ->
        g = gen[d];
        if
        :: (g & 1) == 0 -> skip
        :: else ->
           p = place[d];
           o = obj[d];
           if                                                          /* reader `me` has slot `me` */
           :: used_here <= me ->
#ifdef USED_AFTER
              used_here = me + 1;
              d_step { if :: used <= me -> used = me + 1 :: else fi }
#else
              d_step { if :: used <= me -> used = me + 1 :: else fi }
              used_here = me + 1
#endif
           :: else
           fi;
#ifdef NO_READER_FENCE
           atomic { !rpend[me] -> rpend[me] = true; rval[me] = d }
#else
           pin[me] = d;                                                /* pin, full fence */
#endif
           if
#ifdef NO_RECHECK
           :: true ->
#else
           :: gen[d] == g ->
#endif
#ifdef UNPIN_NOT_RELEASE
              pin[me] = NONE;                                          /* passes the loads before it */
              assert(mem[p] == o)
#else
              assert(mem[p] == o);
              atomic { !rpend[me] -> assert(mem[p] == o); pin[me] = NONE }
#endif
#ifndef NO_RECHECK
           :: else -> atomic { !rpend[me] -> pin[me] = NONE }
#endif
           fi
        fi
     fi
  od
}

#define SEEN(i, d) (used > (i) && pin[i] == (d))
#define PINNED(d) (SEEN(0, d) || SEEN(1, d))
#define USES(d, p) (st[d] != FREE && splace[d] == (p))

inline unpublish(d) {                           /* index side; the state already says DOOMED */
  if :: bucket == d -> bucket = NONE :: else fi;
#ifdef NO_WORKER_FENCE
  if :: (gen[d] & 1) -> atomic { !wpend -> wpend = true; wd = d; wg = NEXTGEN(sgen[d]) } :: else fi
#else
  gen[d] = NEXTGEN(sgen[d])                     /* even again; full fence */
#endif
}

inline reclaim(d) {                             /* one slot at a time; any pin: look again later */
  if
  :: SEEN(0, d) -> skip
  :: else ->
     if
     :: SEEN(1, d) -> skip
     :: else -> d_step { sgen[d] = NEXTGEN(sgen[d]); st[d] = FREE }
     fi
  fi
}

active proctype worker() {
  byte d, p;
again:
  {
    do
    :: nextobj > OBJS -> break
    :: /* publish a new object in a free descriptor and a free block */
       atomic { nextobj <= OBJS && (st[0] == FREE || st[1] == FREE) ->
         if :: st[0] == FREE -> d = 0 :: st[1] == FREE -> d = 1 fi;
         if :: !USES(0, 0) && !USES(1, 0) -> p = 0 :: !USES(0, 1) && !USES(1, 1) -> p = 1 fi }
       mem[p] = nextobj;                        /* a creator fills its grant */
       atomic { splace[d] = p; sobj[d] = nextobj; sgen[d] = NEXTGEN(sgen[d]); nextobj++ }
       st[d] = LIVE;                            /* commit: one store */
       !wpend;                                  /* same-address order of gen */
       place[d] = splace[d];
       obj[d] = sobj[d];
       gen[d] = sgen[d];                        /* release */
       bucket = d
    :: /* unpublish */
       atomic { (st[0] == LIVE || st[1] == LIVE) ->
         if :: st[0] == LIVE -> d = 0 :: st[1] == LIVE -> d = 1 fi }
#ifdef SCAN_FIRST
       if :: !PINNED(d) -> st[d] = DOOMED; unpublish(d); sgen[d] = NEXTGEN(sgen[d]); st[d] = FREE :: else fi
#else
       st[d] = DOOMED;                          /* the state first, so that a crash never brings it back */
       unpublish(d)
#endif
    :: /* free what nobody pins */
       atomic { (st[0] == DOOMED || st[1] == DOOMED) ->
         if :: st[0] == DOOMED -> d = 0 :: st[1] == DOOMED -> d = 1 fi }
       reclaim(d)
    od
  } unless { dead };
  if
  :: dead ->
     !wpend;                                    /* what retired before the kill is visible */
     /* Recovery: the index is made to follow the state, in place. Pins are left alone and honoured. */
     d = 0;
     do
     :: d == ND -> break
     :: else ->
        if
        :: st[d] == LIVE ->
           place[d] = splace[d]; obj[d] = sobj[d]; gen[d] = sgen[d];   /* the same values again where gen is the same */
           bucket = d
        :: st[d] == DOOMED ->
           unpublish(d);
#ifdef RECOVERY_IGNORES_PINS
           sgen[d] = NEXTGEN(sgen[d]); st[d] = FREE
#endif
        :: else ->
           /* killed between a bump of sgen and its commit: keep the parity even, never go back */
           if :: (sgen[d] & 1) -> sgen[d] = NEXTGEN(sgen[d]) :: else fi;
#ifdef GEN_RESET
           gen[d] = 0; sgen[d] = 0
#else
           skip
#endif
        fi;
        d++
     od;
     d = 0; p = 0; dead = false;
     goto again
  :: else
  fi
}
