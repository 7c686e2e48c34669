/* SPDX-License-Identifier: Apache-2.0 */
/* Moves of buckets: a split of the index (linear hashing) against the exact look of a writer (W4), with kills of the worker.
 *
 * Index segment (clients read only): moves, buckets, entries and links of buckets.
 * Chain before the split: F -> O -> P. The key K stands in one of them and either moves to the new bucket T or stays. J, in another
 * bucket of the chain, moves. Empty overflow buckets are cut out and used again in another chain. The worker may also delete K and
 * insert it elsewhere.
 *
 * Safety: a look says "absent" only if K was in no chain at some moment of the look. (Saying "present" wrongly costs a wait; readers
 * trust neither answer: a hit is checked after the pin, pin.pml, and a miss is asked.)
 * The store of `moves` sits in a store buffer in the variant without the fence: it becomes visible at any later time.
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LOOKS
#define LOOKS 2
#endif
#define F 0
#define O 1
#define P 2
#define T 3
#define NB 4
#define NONE 9
#define K 1
#define J 2
#define X 3

byte ent[NB], ent2[NB];                         /* two slots a bucket */
byte next[NB] = NONE;
byte moves, buckets = 1;
bool kmoves, live = true;                       /* live: the state says that K exists */
bool was_absent;                       /* ghost */
byte crashes = CRASHES;
bool dead, ready;
bool mpend; byte mval;                          /* store buffer of `moves` */

active proctype drain() {
end: do
  :: atomic { mpend -> moves = mval; mpend = false }
  od
}

active proctype killer() {
end: do
  :: atomic { crashes > 0 && !dead && ready -> crashes--; dead = true }
  od
}

#define HOME ((buckets == 2 && kmoves) -> T : F)

inline moves_begin() {
#ifdef NO_ODD
  skip
#else
#ifdef NO_FENCE
  atomic { mval = moves | 1; mpend = true }
#else
  moves = moves | 1                             /* full fence */
#endif
#endif
}

inline moves_end() {
  !mpend;                                       /* same address: in order */
  moves = (moves | 1) + 1                       /* release */
}

#define MOVED(e) ((e) == J || ((e) == K && kmoves))

inline copy_to_new(e) {
  if
  :: MOVED(e) -> if :: ent[T] == 0 -> ent[T] = e :: else -> ent2[T] = e fi
  :: else
  fi
}

inline trim(a) {                                /* F -> ... : cut empty buckets, use them again */
  a = F;
  do
  :: next[a] == NONE -> break
  :: else ->
     if
     :: ent[next[a]] == 0 && ent2[next[a]] == 0 ->
        c = next[a];
        next[a] = next[c];                      /* release */
        next[c] = NONE                          /* list of free ones */
     :: else -> a = next[a]
     fi
  od
}

inline clear_moved() {
  b = F;
  do
  :: b == NONE -> break
  :: else ->
     if :: MOVED(ent[b]) -> ent[b] = 0 :: else fi;
     if :: MOVED(ent2[b]) -> ent2[b] = 0 :: else fi;
     b = next[b]
  od
}

active proctype worker() {
  byte b, c, a;
  /* the chain */
  atomic {
    next[F] = O; next[O] = P;
    ent[F] = X; ent[O] = X; ent[P] = X;
    if :: kmoves = true :: kmoves = false fi;
    if
    :: ent2[F] = K; ent[O] = J
    :: ent[O] = K; ent2[P] = J
    :: ent[P] = K; ent[O] = J                   /* O is empty after the split: cut under the looker's feet */
    fi;
    ready = true
  }
again:
  {
    do
    :: buckets == 1 ->                          /* split */
       moves_begin();
       b = F;
       do
       :: b == NONE -> break
       :: else -> copy_to_new(ent[b]); copy_to_new(ent2[b]); b = next[b]
       od;
       buckets = 2;                             /* release */
       clear_moved();
       trim(a);
       moves_end()
    :: live ->                                  /* delete K */
       atomic {
         live = false; was_absent = true;       /* ghost: absent from the store on, seen or not */
         b = 0;
         do
         :: b == NB -> break
         :: else ->
            if :: ent[b] == K -> ent[b] = 0 :: else fi;
            if :: ent2[b] == K -> ent2[b] = 0 :: else fi;
            b++
         od }
    :: !live ->                                 /* insert it again, in the first free slot */
       atomic {
         b = HOME;
         if
         :: ent[b] == 0 -> ent[b] = K
         :: else -> ent2[b] = K
         fi;
         live = true }
    :: buckets == 2 && live -> break
    od
  } unless { dead };
  if
  :: dead ->                                    /* recovery: the sweep of src/shm/index.c */
     !mpend;
#ifdef RECOVERY_EVEN_FIRST
     if :: (moves & 1) -> moves = moves + 1 :: else fi;
#else
     moves = moves | 1;
#endif
     if
     :: buckets == 1 -> ent[T] = 0; ent2[T] = 0 /* of a split that was not published */
     :: else -> clear_moved()
     fi;
     trim(a);
#ifndef RECOVERY_EVEN_FIRST
     moves = (moves | 1) + 1;
#endif
     dead = false;
     goto again
  :: else
  fi
}

active proctype writer() {
  byte m, n, b, i, length;
  bool present;
  ready;
  do
  :: i == LOOKS -> break
  :: else ->
     i++;
     atomic { was_absent = !live; present = false; length = 0 }
#ifdef BUCKETS_FIRST
     n = buckets;
     m = moves;
#else
     m = moves;
     n = buckets;
#endif
     if
     :: (m & 1) -> present = true
     :: else ->
        b = ((n == 2 && kmoves) -> T : F);
        do
        :: b == NONE || present -> break
        :: else ->
           if :: ent[b] == K -> present = true :: else fi;
           if :: ent2[b] == K -> present = true :: else fi;
           b = next[b];
           length++;
           if :: length == NB -> present = true :: else fi
        od
     fi;
     if
     :: present
#ifdef NO_RECHECK
     :: else -> assert(was_absent)
#else
#ifdef RECHECK_PARITY
     :: else -> if :: (moves & 1) == 0 -> assert(was_absent) :: else fi
#else
     :: else -> if :: moves == m -> assert(was_absent) :: else fi
#endif
#endif
     fi;
     was_absent = false
  od
}
