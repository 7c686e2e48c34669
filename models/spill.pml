/* SPDX-License-Identifier: Apache-2.0 */
/* Leaving memory and coming back: one object, its descriptor in the index, two blocks, readers in other processes, the worker.
 *
 * Steps S1 to S5, F1 to F6 and A1 to A3 of docs/concurrency.md, 9. Index (clients read only): gen (odd = published), place, whether the
 * bytes have arrived. State (worker only): live in memory, spilled, or spilled with a block (arriving), gen, place. Each shared access is one step; without its fence a store sits in a one-entry buffer that
 * drains at any later time. The worker may be killed before any of its steps and comes back.
 *
 * Safety: a reader that passed its check finds the object's bytes in the block that it read, until it unpins; a restart never
 * takes a block for the object's that holds something else.
 *
 * Broken variants, each of which must fail: see the list in `run`.
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef TURNS
#define TURNS 2
#endif
#define NR 2
#define NONE 255
#define OBJECT 1
#define OTHER 2

byte gen = 1, place = 0;                        /* index */
bool arrived = true;
byte sgen = 1, splace = 0;                      /* state */
bool spilled = false, arriving = false;
byte mem[2] = OTHER;
bool pin[NR];
byte crashes = CRASHES, turns = TURNS;
bool dead = false;
bool rpend[NR], wpend; byte wg;                 /* store buffers: pin[i] = true; gen = wg */

init { mem[0] = OBJECT; run worker(); run reader(0); run reader(1); run drain(); run killer() }

proctype drain() {
end: do
#ifdef NO_READER_FENCE
  :: atomic { rpend[0] -> pin[0] = true; rpend[0] = false }
  :: atomic { rpend[1] -> pin[1] = true; rpend[1] = false }
#endif
#ifdef NO_WORKER_FENCE
  :: atomic { wpend -> gen = wg; wpend = false }
#endif
  :: false
  od
}

proctype killer() {
end: do
  :: atomic { crashes > 0 && !dead -> crashes--; dead = true }
  od
}

proctype reader(byte me) {
  byte n = 0, g, p;
  bool a;
  do
  :: n == 2 -> break
  :: else -> n++;
     g = gen;
     if
     :: (g & 1) == 0 -> skip                    /* asks */
     :: else ->
        p = place;
#ifdef NO_READER_FENCE
        rpend[me] = true;
#else
        pin[me] = true;                         /* R4, full fence */
#endif
        if
        :: gen == g ->                          /* R5 */
           a = arrived;                         /* perhaps of a later read, into the same block */
           assert(!a || mem[p] == OBJECT);
           atomic { !rpend[me] -> assert(!a || mem[p] == OBJECT); pin[me] = false }
        :: else -> atomic { !rpend[me] -> pin[me] = false }
        fi
     fi
  od
}

inline reuse(p) { mem[p] = OTHER }              /* the block is somebody else's now */

inline settle_all() {                           /* A2 */
  spilled = false;                              /* one store with the next */
  arriving = false
}

inline stall() {                                /* A3: as S2 and S3 */
#ifdef NO_WORKER_FENCE
  atomic { !wpend -> wpend = true; wg = sgen + 1 };
#else
  gen = sgen + 1;
#endif
  sgen = sgen + 1
}

inline let_go() {                               /* S4, S5 */
  if
#ifndef FREE_WHEN_STALLED
  :: pin[0] -> skip
#endif
  :: else ->
     if
#ifndef FREE_WHEN_STALLED
     :: pin[1] -> skip
#endif
     :: else -> arriving = false; reuse(splace)
     fi
  fi
}

inline arrive() {
  arrived = false;
  !wpend;
  place = splace;                               /* F6 */
  gen = sgen;
  mem[splace] = OBJECT;                         /* A1 */
  arrived = true;
  if
  :: atomic { settle_all() }
  :: stall()
  fi
}

proctype worker() {
  byte p;
again:
  {
    do
    :: turns == 0 -> break
    :: atomic { turns > 0 && !spilled -> turns-- };
       /* S1: the copy on disk is there */
#ifdef SCAN_FIRST
       if :: pin[0] || pin[1] -> skip :: else ->
          gen = sgen + 1; spilled = true; sgen = sgen + 1; reuse(splace) fi
#else
#ifdef NO_WORKER_FENCE
       atomic { !wpend -> wpend = true; wg = sgen + 1 };
#else
       gen = sgen + 1;                          /* S2, S3 */
#endif
       if                                       /* S4 */
       :: pin[0] -> atomic { !wpend -> gen = sgen }
       :: else ->
          if
          :: pin[1] -> atomic { !wpend -> gen = sgen }
          :: else ->
#ifdef FREE_FIRST
             reuse(splace);
             spilled = true;
             sgen = sgen + 1
#else
             spilled = true;                    /* S5 */
             sgen = sgen + 1;
             reuse(splace)
#endif
          fi
       fi
#endif
    :: arriving && (sgen & 1) == 0 -> let_go()
    :: atomic { turns > 0 && spilled && arriving -> turns-- };
       sgen = sgen + 1;                         /* into the block of a read that failed */
       arrive()
    :: atomic { turns > 0 && spilled && !arriving -> turns--;
         splace = 1 - splace; sgen = sgen + 1; arriving = true }; /* F2 to F4: `moving` makes them one step for a restart */
       arrive()
    :: atomic { turns > 0 && spilled && !arriving -> turns--; p = 1 - splace };
       mem[p] = OBJECT;                         /* read back into another block */
#ifdef SAME_GEN
       sgen = sgen - 1;                         /* a generation that comes back with another block */
#else
       sgen = sgen + 1;                         /* F3 */
#endif
       splace = p;                              /* F2: `moving` makes it one step with F4 for a restart */
       spilled = false;                         /* F4 */
       !wpend;
       place = splace;                          /* F6 */
       gen = sgen
    od
  } unless { dead };
  if
  :: dead ->
     !wpend;
     if
     :: spilled ->
#ifdef ARRIVING_FORGOTTEN
        if :: arriving -> arriving = false; reuse(splace) :: else fi;
#endif
        if :: (sgen & 1) -> sgen = sgen + 1 :: else fi;
        if :: (gen & 1) || gen < sgen -> gen = sgen :: else fi
     :: else ->
        assert(mem[splace] == OBJECT && !arriving); /* what a restart takes for the object's block */
        place = splace;
        gen = sgen
     fi;
     dead = false;
     goto again
  :: else
  fi
}
