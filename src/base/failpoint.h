/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failpoint.h - named places where tests make the program fail or die.
 *
 *     rc = ds_failpoint("session.create");   0, or a negative errno value to fail with
 *
 * Armed by the environment variable DS_FAILPOINTS, read once at the first hit:
 *     [program:]name=action[!][@n|%n][<n][;...]
 * @n: the n-th hit fires; %n: one hit in n, by chance; else every hit. <n: not after the n-th hit.
 * !: in one process only, the first to come (DS_FAILPOINTS_LOG must be given).
 * A name may end in * ("sys.*"). With a program, the point is armed in processes of that name only.
 * With DS_FAILPOINTS_LOG=path each point that fires appends a line "name action" there.
 * Actions: kill (SIGKILL to the own process), abort, errno:N, sleep:MS, exit:N, note (only the
 * line), hold (as long as there is a file DS_FAILPOINTS_LOG.hold; without it the point is passed).
 * Compiled to nothing without -DDS_FAILPOINTS (release builds).
 */
#ifndef DS_BASE_FAILPOINT_H
#define DS_BASE_FAILPOINT_H

#include "base/base.h"

#ifdef DS_FAILPOINTS
int ds_failpoint(const char *name);

/* For unit tests in one process: replaces what is armed; NULL disarms. Not thread-safe. */
void ds_failpoint_arm(const char *spec);
#else
static inline int ds_failpoint(const char *name)
{
    (void)name;
    return 0;
}
#endif

#endif
