/* SPDX-License-Identifier: Apache-2.0 */
/* A fork with a view: the pin is copied from the parent's session to the ghost session of the child (src/client/fork.c), while
 * another thread of the parent gives its own view back and the worker looks for pins. The object is unpublished already.
 *
 * Copy: store into the ghost's slot, full fence, look at the own slot again; if that changed meanwhile the view was given back and
 * the child does not have it. The worker looks at the parent's session first, then at the ghost.
 *
 * Safety: what the child holds is not freed.
 */
bool own = true, ghost, child, freed;
bool gpend, gval;                               /* store buffer of the ghost's slot */

active proctype drain() {
end: do
  :: atomic { gpend -> ghost = gval; gpend = false }
  od
}

active proctype forking() {
  bool v;
  v = own;
  atomic { gval = v; gpend = true };
#ifndef NO_COPY_FENCE
  !gpend;
#endif
  if
#ifdef NO_SECOND_LOOK
  :: v -> child = true
  :: else
#else
  :: v && own -> child = true
  :: else -> !gpend; ghost = false
#endif
  fi;
  assert(!(child && freed))
}

active proctype other_thread() {
  own = false                                   /* release */
}

active proctype worker() {
  bool a, b;
#ifdef GHOST_FIRST
  b = ghost;
  a = own;
#else
  a = own;
  b = ghost;
#endif
  if
  :: !a && !b -> atomic { freed = true; assert(!child) }
  :: else
  fi
}
