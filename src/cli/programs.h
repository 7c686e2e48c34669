/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - where the other programs are. */
#ifndef DS_CLI_PROGRAMS_H
#define DS_CLI_PROGRAMS_H

#include "base/base.h"

/* The path of "dskeeper" or "dsworker": in DS_BIN_DIR, or beside dscli itself. On failure (DS_EIO)
 * `buf` has the reason instead. */
DS_MUST_USE int ds_program_find(const char *name, char *buf, size_t size);

/* 0, or -errno: no file that can be run. */
DS_MUST_USE int ds_program_check(const char *path);

/* Whether a program of this name is in PATH. */
bool ds_program_in_path(const char *name);

#endif
