/* SPDX-License-Identifier: Apache-2.0 */
/* Sleep and wake between one that posts and one that goes to sleep: client and worker, in both directions (src/client/link.c with
 * src/worker/worker.c; src/store/pass.c with src/client/request.c and write.c).
 *
 * Each side writes its word, fences, and looks at the other's. Without a fence on either side a record is posted and nobody wakes:
 * both stores may sit in store buffers while both look.
 */
bool posted, asleep, event, finished;
bool cpend, wpend;                              /* store buffers */

active proctype drain() {
end: do
  :: atomic { cpend -> posted = true; cpend = false }
  :: atomic { wpend -> asleep = true; wpend = false }
  od
}

active proctype client() {
  cpend = true;
#ifndef NO_CLIENT_FENCE
  !cpend;
#endif
  if :: asleep -> event = true :: else fi
}

active proctype worker() {
  do
  :: posted -> break
  :: else ->
     wpend = true;
#ifndef NO_WORKER_FENCE
     !wpend;
#endif
     if
     :: posted -> break
     :: else -> (event); event = false; !wpend; asleep = false
     fi
  od;
  finished = true
}
