/* SPDX-License-Identifier: Apache-2.0 */
/* A request that is given up (src/client/request.c, src/store/pass.c, src/store/request.c). The client overwrites the slot by a cancel
 * that names the request by its number, and posts that under the next number. The worker executes the newest number it sees, with
 * whatever stands in the slot when it copies it; a grant is noted with the number it was executed for. Kills anywhere.
 *
 * Safety: when the cancel is answered, or the answer was taken, nothing is lent that the client does not know of.
 */
#ifndef KILLS
#define KILLS 2
#endif
#define GRANT 1
#define CANCEL 2
#ifdef SAME_NUMBER
#define SECOND 1
#else
#define SECOND 2
#endif

byte op = GRANT, req = 0;                       /* slot, request[i]: the client's */
byte done_state = 0, done = 0;                  /* done mark in the state, its mirror */
bool lent[3];                                   /* grant records, by the number in their origin */
bool taken, over;

active proctype client() {
  req = 1;
  if
  :: done == 1 -> taken = true                  /* before its deadline */
  :: true ->                                    /* the deadline */
     if
     :: done == 1 -> taken = true               /* a last look */
     :: else ->
#ifdef NUMBER_FIRST
        req = SECOND; op = CANCEL;
#else
        op = CANCEL; req = SECOND;
#endif
        done == SECOND
     fi
  fi;
  over = true;
  assert(lent[1] == taken && !lent[2])
}

active proctype worker() {
  byte known = 0, copy = 0, kills = 0;
  do
  :: over -> break
  :: req != known ->
     known = req;
     copy = op;
     if
     :: copy == GRANT -> lent[known] = true     /* found again by its origin after a kill: the same record */
#ifdef BY_OWN_NUMBER
     :: else -> lent[known] = false
#else
     :: else -> lent[1] = false                 /* the number that the cancel names */
#endif
     fi;
     if :: kills < KILLS -> kills++; goto killed :: true fi;
     done_state = known;
     if :: kills < KILLS -> kills++; goto killed :: true fi;
     done = known;
     if :: kills < KILLS -> kills++; goto killed :: true fi;
  :: kills < KILLS ->
     kills++;
killed:
     known = done_state;
     done = known
  od
}
