/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - status codes of the C API.
 *
 * Every call that can fail returns 0 or a negative code; calls that say more return a positive one
 * and document it. The magnitude is the code that the C++ and Python APIs show: -DS_ENOTFOUND is
 * their K_NOT_FOUND, 3. The numbers are part of the ABI and never change.
 *
 * One table, DS_ERROR_MAP, gives the constants, their names and their texts:
 *     X(NAME, number, K_NAME, "text", what the caller should do)
 */
#ifndef DS_ERROR_H
#define DS_ERROR_H

#include <ds/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DS_ERROR_MAP(X)                                                                            \
    X(DUPLICATED, 1, "K_DUPLICATED", "Duplicated", "use distinct keys")                            \
    X(INVAL, 2, "K_INVALID", "Invalid parameter", "correct the call")                              \
    X(NOTFOUND, 3, "K_NOT_FOUND", "Key not found", "set the key first or wait for it")             \
    X(RUNTIME, 5, "K_RUNTIME_ERROR", "Runtime error", "report it with the worker's log")           \
    X(NOMEM, 6, "K_OUT_OF_MEMORY", "Out of memory", "free data or give the worker more memory")    \
    X(IO, 7, "K_IO_ERROR", "IO error", "see the worker's log for the system call that failed")     \
    X(NOTREADY, 8, "K_NOT_READY", "Not ready", "call init first, or retry when the worker is up")  \
    X(DENIED, 9, "K_NOT_AUTHORIZED", "Not authorized", "check user, tenant and credentials")       \
    X(INTERRUPTED, 11, "K_INTERRUPTED", "Interrupted", "call again")                               \
    X(RANGE, 12, "K_OUT_OF_RANGE", "Out of range", "correct the offset or the size")               \
    X(NOSPACE, 13, "K_NO_SPACE", "No space available", "free disk space")                          \
    X(AGAIN, 19, "K_TRY_AGAIN", "Try again", "call again")                                         \
    X(CORRUPT, 20, "K_DATA_INCONSISTENCY", "Data inconsistency", "set the key again; report it")   \
    X(SHUTDOWN, 21, "K_SHUTTING_DOWN", "Shutting down", "connect to another worker")               \
    X(DISCONNECTED, 23, "K_CLIENT_WORKER_DISCONNECT", "Client and worker disconnected",            \
      "start the worker, then call again")                                                         \
    X(VERSION, 28, "K_CLIENT_WORKER_VERSION_MISMATCH", "Client and worker versions differ",        \
      "install the same version on both sides")                                                    \
    X(DEADLOCK, 33, "K_CLIENT_DEADLOCK", "Deadlock", "release the latch held by this client")      \
    X(NOTSUPPORTED, 36, "K_NOT_SUPPORTED", "Not supported", "see the documentation of the call")   \
    X(TIMEOUT, 1001, "K_RPC_DEADLINE_EXCEEDED", "Deadline exceeded",                               \
      "retry; a write may or may not have happened")                                               \
    X(UNAVAILABLE, 1002, "K_RPC_UNAVAILABLE", "RPC unavailable",                                   \
      "check that a worker listens on that address, and its second-level storage if it has one "   \
      "(dscli status)")                                                                            \
    X(SEALED, 2000, "K_OC_ALREADY_SEALED", "Object already sealed", "create a new object")         \
    X(NOTINUSE, 2001, "K_OC_OBJECT_NOT_IN_USED", "Object not in use", "increase the reference")    \
    X(QUEUEFULL, 2003, "K_WRITE_BACK_QUEUE_FULL", "Write back queue is full",                      \
      "retry later; the second-level storage is slower than the writers")                          \
    X(EXISTS, 2004, "K_OC_KEY_ALREADY_EXIST", "Key already exists", "choose another key")          \
    X(STALE, 2006, "K_BUFFER_DEPRECATED", "Buffer deprecated", "get the object again")

#define DS_ERROR_ENUM_(name, number, kname, text, hint) DS_E##name = -(number),
enum ds_error { DS_OK = 0, DS_ERROR_MAP(DS_ERROR_ENUM_) };
#undef DS_ERROR_ENUM_

/* "Key not found" for DS_ENOTFOUND; "OK" for 0 and above; never NULL. Static strings. */
DS_API const char *ds_error_text(int code);

/* "K_NOT_FOUND" for DS_ENOTFOUND. Static strings. */
DS_API const char *ds_error_name(int code);

/* What to do about it, a phrase without a full stop. Static strings. */
DS_API const char *ds_error_hint(int code);

#ifdef __cplusplus
}
#endif
#endif
