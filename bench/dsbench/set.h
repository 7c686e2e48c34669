/* SPDX-License-Identifier: Apache-2.0 */
/* set.h - the half of dsbench set that is about bandwidth; set_large.c has it. */
#ifndef DS_BENCH_SET_H
#define DS_BENCH_SET_H

#include "bench.h"

/* Sets of 1 MiB and 64 MiB: warm memory, then first touch. No client may be open. */
int bench_set_large(struct bench_run *run);

#endif
