/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ds_py.h - what the files of the extension module yr.datasystem._ds share.
 *
 * Ownership: as in CPython's C API: new references are returned, arguments are borrowed, unless a
 *            comment says otherwise.
 * Threads:   everything is called with the GIL held. Objects are changed under the GIL only; calls
 *            of libds that may wait, and copies of DS_PY_COPY_UNLOCKED bytes or more, run without.
 * Errors:    -1 or NULL with a Python exception set.
 */
#ifndef DS_PY_H
#define DS_PY_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include <ds/ds.h>

#define DS_PY_COPY_UNLOCKED 65536 /* below, letting the GIL go costs more than the copy */
#define DS_PY_VIEW_POOL 256       /* freed view objects kept for the next gets */

struct ds_py_view;

struct ds_py_state {
    PyTypeObject *connection_type;
    PyTypeObject *kv_type;
    PyTypeObject *objects_type;
    PyTypeObject *view_type;
    PyTypeObject *memory_type;
    PyTypeObject *value_buffer_type;
    PyTypeObject *buffer_type;
    PyObject *write_modes[5]; /* the members of the enums, by their C number */
    PyObject *existence_opts[2];
    PyObject *consistency_types[2];
    PyObject *cache_types[2];
    PyObject *make_error; /* errors.from_code; NULL until the first error */
    PyObject *make_status;
    uint64_t last_connection_id;
    struct ds_py_view *pool; /* freed views, linked */
    size_t pool_size;
};

extern struct PyModuleDef ds_py_module;

/* The state of the module that made `type` or one of its bases; NULL with an exception. */
struct ds_py_state *ds_py_state_of(PyTypeObject *type);

/* --- errors.c --- */

/* Sets the DsError for `code` (a negative DS_E*); `key` may be NULL. Returns NULL. */
void *ds_py_fail(struct ds_py_state *state, int code, PyObject *key, const char *format, ...);

/* The same with another hint than that of the code; "" for none. */
void *ds_py_fail_hint(struct ds_py_state *state, int code, PyObject *key, const char *hint,
                      const char *format, ...);

/* The same for a call of libds that failed; `what` completes "Cannot ...". */
void *ds_py_fail_call(struct ds_py_state *state, int code, PyObject *key, const char *what);

#define DS_PY_HINT_LATCH "somebody else holds it: try again, or with a longer timeout_sec"
#define DS_PY_NESTS_ITSELF "Object %R cannot be nested in itself"

/* yr.datasystem.util.Status of `code`. */
PyObject *ds_py_status(struct ds_py_state *state, int code, const char *detail);

/* --- args.c --- */

/* What a method accepts: names in order, the first `required` must be given, those from
 * `positional` on only by keyword. */
struct ds_py_signature {
    const char *function;
    int required;
    int positional;
    const char *names[8]; /* NULL-terminated */
};

/* ret[i] is the borrowed argument, or NULL where it was not given. */
int ds_py_parse(const struct ds_py_signature *signature, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames, PyObject **ret);

/* "The input of {name} has invalid type, valid type: {valid}"; returns -1. */
int ds_py_bad_type(const char *name, const char *valid);

/* Exactly an int (no bool), within [min, max]; a NULL object leaves *ret. */
int ds_py_int(struct ds_py_state *state, PyObject *object, const char *name, int64_t min,
              int64_t max, int64_t *ret);

/* Exactly a bool; a NULL object leaves *ret. */
int ds_py_bool(PyObject *object, const char *name, bool *ret);

/* The index of an enum's member; a NULL object leaves *ret. */
int ds_py_member(PyObject *object, const char *name, PyObject *const *members, int n, int *ret);

/* One key: 1 to DS_KEY_SIZE_MAX bytes of the permitted characters. The bytes belong to `object`. */
int ds_py_key(struct ds_py_state *state, PyObject *object, struct ds_bytes *ret);

/* A list of keys, held together with their objects until ds_py_keys_release(). */
struct ds_py_keys {
    size_t n;
    struct ds_bytes *keys;
    PyObject **objects;
    int *results;
};

/* Exactly a list of 1 to `max` keys. `name` is the argument's, for messages. */
int ds_py_keys_get(struct ds_py_state *state, PyObject *list, const char *name, size_t max,
                   struct ds_py_keys *ret);

/* The same, but only the first key can refuse the call: the result of another one that is not legal
 * is DS_EINVAL, and it is not to be used. */
int ds_py_keys_get_some(struct ds_py_state *state, PyObject *list, const char *name, size_t max,
                        struct ds_py_keys *ret);

/* The same for an optional list: NULL, None and [] are no keys. Each must be exactly a str. */
int ds_py_nested_get(struct ds_py_state *state, PyObject *list, struct ds_py_keys *ret);
void ds_py_keys_release(struct ds_py_keys *keys);

/* The keys whose result is an error, as a list. */
PyObject *ds_py_keys_failed(const struct ds_py_keys *keys);

/* What keeps a value's bytes in place; zeroed = nothing. */
struct ds_py_held {
    PyObject *owner;
    Py_buffer buffer;
};

/* bytes, str (as UTF-8), any C-contiguous buffer, or a CPU tensor of torch. */
int ds_py_hold(PyObject *object, const char *name, struct ds_bytes *ret, struct ds_py_held *held);
void ds_py_unhold(struct ds_py_held *held);

/* --- connection.c --- */

struct ds_py_connection {
    PyObject_HEAD struct ds_py_state *state;
    struct ds_client *client; /* NULL after close */
    Py_ssize_t calls;         /* that use `client` now; the last one closes if `closing` */
    bool closing;
    uint64_t id; /* tells buffers of one connection from those of another */
    int64_t request_timeout_ms;
};

/* A call on a client: from start to end the client stays open and the connection alive. */
struct ds_py_call {
    struct ds_py_state *state;
    struct ds_py_connection *connection;
    struct ds_client *client;
};

/* -1: not connected (`connection` may be NULL). */
int ds_py_call_start(struct ds_py_state *state, struct ds_py_connection *connection,
                     struct ds_py_call *ret);
void ds_py_call_end(const struct ds_py_call *call);

/* A call of libds that may wait: without the GIL from begin to end. Meanwhile signal handlers run,
 * and may make calls of their own; the wait ends when one raises, or when close() is called. */
struct ds_py_wait {
    const struct ds_py_connection *connection; /* may be NULL: close() does not end it */
    PyThreadState *thread;
    bool ended; /* with an exception set */
};
void ds_py_wait_begin(const struct ds_py_connection *connection, struct ds_py_wait *ret);

/* `rc` is what libds answered. The same, or DS_EINTERRUPTED with an exception, which ds_py_fail()
 * and its like then leave as it is. */
int ds_py_wait_end(struct ds_py_wait *wait, int rc);

/* For ds_client_options.interrupted. */
bool ds_py_wait_interrupted(void *unused);

/* --- view.c --- */

struct ds_py_view {
    PyObject_HEAD const void *data;
    size_t size;
    Py_ssize_t exports; /* memoryviews on it */
    bool released;
    union {
        struct ds_view view;     /* pins the bytes */
        struct ds_py_view *next; /* in the pool */
    } u;
};

/* Takes `view` over, also where it fails; the object shows [offset, offset + size) of it. */
PyObject *ds_py_view_new(struct ds_py_state *state, struct ds_view *view, size_t offset,
                         size_t size);
void ds_py_view_pool_clear(struct ds_py_state *state);

/* --- buffer.c --- */

/* Buffer and StateValueBuffer. */
struct ds_py_buffer {
    PyObject_HEAD struct ds_py_state *state;
    struct ds_buffer *buffer; /* NULL: never set, released, or a placeholder */
    PyObject *key;
    uint64_t connection_id;
    Py_ssize_t exports;      /* views of `buffer` */
    Py_ssize_t writers;      /* those of them that can write */
    struct ds_buffer *left;  /* what views were on when a copy of it was published instead ... */
    Py_ssize_t left_exports; /* ... and how many are still there; the last one frees it */
    int waiters;             /* calls that wait until it is not busy */
    unsigned long busy;      /* the thread whose call on it runs without the GIL; 0: none */
    bool placeholder;        /* the key existed: nothing to write */
};

/* Takes `buffer` over, also where it fails; NULL gives a placeholder. */
PyObject *ds_py_buffer_new(struct ds_py_state *state, PyTypeObject *type, struct ds_buffer *buffer,
                           PyObject *key, uint64_t connection_id);

/* Begins a view of `buffer`; returns what to end it with. */
struct ds_buffer *ds_py_buffer_export(struct ds_py_buffer *self, bool writable);
void ds_py_buffer_unexport(struct ds_py_buffer *self, struct ds_buffer *shown, bool writable);

/* Puts `copy` in the place of `buffer`, which is left to the views of it. Takes `copy` over. */
void ds_py_buffer_replace(struct ds_py_buffer *self, struct ds_buffer *copy);

/* Without the GIL: giving memory back may have to wait for room in the ring. */
void ds_py_buffer_give(struct ds_buffer *buffer);

/* Waits a little for the call that uses the buffer. -1: a signal handler raised, or is the caller,
 * in the middle of that very call. */
int ds_py_buffer_wait(struct ds_py_buffer *self);

/* Waits until no call uses the buffer, then marks it as used. -1 also if there is nothing in it. */
int ds_py_buffer_enter(struct ds_py_buffer *self);
void ds_py_buffer_leave(struct ds_py_buffer *self);

/* *ret_rc is the latch's answer after up to timeout_ms. -1: a signal handler raised. */
int ds_py_buffer_latch(struct ds_py_buffer *self, bool write, int64_t timeout_ms, int *ret_rc);

/* The exception for a write to a buffer that cannot change any more. Returns NULL. */
void *ds_py_fail_read_only(const struct ds_py_buffer *self);

/* A memoryview of the whole buffer that keeps it alive. */
PyObject *ds_py_buffer_view(struct ds_py_buffer *self, bool writable);

/* The slots and methods that both buffer types share. */
void ds_py_buffer_dealloc(PyObject *object);
int ds_py_buffer_getbuffer(PyObject *object, Py_buffer *ret, int flags);
void ds_py_buffer_releasebuffer(PyObject *object, Py_buffer *buffer);
Py_ssize_t ds_py_buffer_length(PyObject *object);
PyObject *ds_py_buffer_release(PyObject *object, PyObject *unused);
PyObject *ds_py_buffer_with(PyObject *object, PyObject *unused);
PyObject *ds_py_buffer_end_with(PyObject *object, PyObject *const *args, Py_ssize_t nargs);

/* --- memory.c --- */

/* An object that shows a buffer's bytes and keeps it; `latched`: it gives back a read latch. */
PyObject *ds_py_memory_new(struct ds_py_buffer *owner, bool writable, bool latched);

/* --- kv_read.c, kv_write.c, kv_publish.c --- */

struct ds_py_kv {
    PyObject_HEAD struct ds_py_state *state;
    struct ds_py_connection *connection; /* NULL before init */
};

PyObject *ds_py_kv_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *ds_py_kv_get_buffers(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *ds_py_kv_get_read_only_buffers(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                         PyObject *kwnames);
PyObject *ds_py_kv_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *ds_py_kv_exist(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames);

/* The Python classes hand all arguments on, so these take them by position only. */
PyObject *ds_py_kv_set(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ds_py_kv_mset(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ds_py_kv_mset_told(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ds_py_kv_mcreate(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *ds_py_kv_mset_buffer(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *ds_py_kv_delete(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames);
PyObject *ds_py_kv_expire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames);

/* --- the types, made by module.c --- */

extern PyType_Spec ds_py_connection_spec;
extern PyType_Spec ds_py_kv_spec;
extern PyType_Spec ds_py_objects_spec;
extern PyType_Spec ds_py_view_spec;
extern PyType_Spec ds_py_memory_spec;
extern PyType_Spec ds_py_value_buffer_spec;
extern PyType_Spec ds_py_buffer_spec;

/* For method tables and slots, whose types C cannot express. */
#define DS_PY_METHOD(function) ((PyCFunction)(void (*)(void))(function))
#define DS_PY_FAST (METH_FASTCALL | METH_KEYWORDS)

#endif
