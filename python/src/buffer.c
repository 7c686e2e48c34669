/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.c - what Buffer (objects) and StateValueBuffer (mcreate) have in common.
 *
 * libds asks for exclusion between calls on one buffer. A call that runs without the GIL sets
 * `busy`; whoever finds it set waits. Latches wait in slices and leave the buffer free in between,
 * so another thread can give back the latch that this one waits for.
 *
 * Views are counted, by the libds buffer that they show: a value whose bytes the program can still
 * reach to write is not published itself, but a copy of it (kv_publish.c).
 */
#include "ds_py.h"

#include <time.h>

#define WAITER_NAP_US 200
#define SLICE_MS 250

PyObject *ds_py_buffer_new(struct ds_py_state *state, PyTypeObject *type, struct ds_buffer *buffer,
                           PyObject *key, uint64_t connection_id)
{
    struct ds_py_buffer *self = PyObject_New(struct ds_py_buffer, type);

    if (self == NULL) {
        ds_buffer_free(buffer);
        return NULL;
    }
    Py_XINCREF(key);
    self->state = state;
    self->buffer = buffer;
    self->key = key;
    self->connection_id = connection_id;
    self->exports = 0;
    self->writers = 0;
    self->left = NULL;
    self->left_exports = 0;
    self->waiters = 0;
    self->busy = 0;
    self->placeholder = buffer == NULL;
    return (PyObject *)self;
}

void ds_py_buffer_give(struct ds_buffer *buffer)
{
    if (buffer != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        ds_buffer_free(buffer);
        PyEval_RestoreThread(thread);
    }
}

/* Views keep the object, so that there are none any more. */
void ds_py_buffer_dealloc(PyObject *object)
{
    struct ds_py_buffer *self = (struct ds_py_buffer *)object;
    PyTypeObject *type = Py_TYPE(object);

    ds_py_buffer_give(self->buffer);
    Py_XDECREF(self->key);
    type->tp_free(object);
    Py_DECREF(type);
}

static int buffer_check(const struct ds_py_buffer *self)
{
    if (self->buffer != NULL) {
        return 0;
    }
    if (self->placeholder) {
        ds_py_fail(self->state, DS_EEXISTS, self->key, "The key exists, there is nothing to write");
    } else if (self->key != NULL) {
        ds_py_fail(self->state, DS_ESTALE, self->key, "The buffer was released");
    } else {
        ds_py_fail(self->state, DS_ENOTREADY, NULL, "The buffer is None, please create it first.");
    }
    return -1;
}

void *ds_py_fail_read_only(const struct ds_py_buffer *self)
{
    if (Py_TYPE((PyObject *)self) == self->state->value_buffer_type) {
        return ds_py_fail_hint(
            self->state, DS_ESEALED, self->key, "make another one with mcreate()",
            "The value of key %R is published and does not change any more", self->key);
    }
    return ds_py_fail_hint(self->state, DS_ESEALED, self->key,
                           "what shall change is to be published, not sealed; a value set through "
                           "KVClient never changes",
                           "The object of key %R cannot change any more", self->key);
}

static void nap(long microseconds)
{
    struct timespec time = {.tv_nsec = microseconds * 1000};
    PyThreadState *thread = PyEval_SaveThread();

    nanosleep(&time, NULL);
    PyEval_RestoreThread(thread);
}

int ds_py_buffer_wait(struct ds_py_buffer *self)
{
    if (self->busy == PyThread_get_thread_ident()) {
        ds_py_fail_hint(self->state, DS_EDEADLOCK, self->key, "do it when that call is over",
                        "This signal handler interrupted a call on the buffer of key %R that it "
                        "wants to use",
                        self->key != NULL ? self->key : Py_None);
        return -1;
    }
    if (self->busy != 0) {
        self->waiters++;
        nap(WAITER_NAP_US);
        self->waiters--;
    }
    return PyErr_CheckSignals();
}

int ds_py_buffer_enter(struct ds_py_buffer *self)
{
    while (self->busy != 0) {
        if (ds_py_buffer_wait(self) < 0) {
            return -1;
        }
    }
    if (buffer_check(self) < 0) {
        return -1;
    }
    self->busy = PyThread_get_thread_ident();
    return 0;
}

void ds_py_buffer_leave(struct ds_py_buffer *self)
{
    self->busy = 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Up to a slice. What came although a signal handler raised is given back. */
static int latch_slice(struct ds_py_buffer *self, bool write, int64_t left_ms)
{
    int64_t slice_ms = left_ms < SLICE_MS ? left_ms : SLICE_MS;
    struct ds_py_wait wait;
    int rc;

    ds_py_wait_begin(NULL, &wait);
    rc = write ? ds_buffer_latch_write(self->buffer, slice_ms)
               : ds_buffer_latch_read(self->buffer, slice_ms);
    if (rc == 0 && wait.ended) {
        (void)!(write ? ds_buffer_unlatch_write(self->buffer)
                      : ds_buffer_unlatch_read(self->buffer));
    }
    return ds_py_wait_end(&wait, rc);
}

int ds_py_buffer_latch(struct ds_py_buffer *self, bool write, int64_t timeout_ms, int *ret_rc)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    int64_t left_ms;

    do {
        left_ms = deadline_ms - now_ms();
        left_ms = left_ms < 0 ? 0 : left_ms;
        if (ds_py_buffer_enter(self) < 0) {
            return -1;
        }
        *ret_rc = latch_slice(self, write, left_ms);
        ds_py_buffer_leave(self);
        if (PyErr_Occurred() != NULL) {
            return -1;
        }
        if (self->waiters > 0 && *ret_rc == DS_ETIMEOUT) { /* they look rarely: give them time */
            nap(5 * WAITER_NAP_US);
        }
    } while (*ret_rc == DS_ETIMEOUT && left_ms > SLICE_MS);
    return 0;
}

struct ds_buffer *ds_py_buffer_export(struct ds_py_buffer *self, bool writable)
{
    self->exports++;
    self->writers += writable;
    return self->buffer;
}

void ds_py_buffer_unexport(struct ds_py_buffer *self, struct ds_buffer *shown, bool writable)
{
    if (shown != self->left) {
        self->exports--;
        self->writers -= writable;
        return;
    }
    self->left_exports--;
    if (self->left_exports == 0) {
        self->left = NULL;
        ds_py_buffer_give(shown);
    }
}

void ds_py_buffer_replace(struct ds_py_buffer *self, struct ds_buffer *copy)
{
    struct ds_buffer *before = self->buffer;

    self->buffer = copy;
    if (self->exports == 0) { /* the last view went while the copy was made */
        ds_py_buffer_give(before);
        return;
    }
    self->left = before;
    self->left_exports = self->exports;
    self->exports = 0;
    self->writers = 0;
}

PyObject *ds_py_buffer_view(struct ds_py_buffer *self, bool writable)
{
    PyObject *memory = ds_py_memory_new(self, writable, false);
    PyObject *view;

    if (memory == NULL) {
        return NULL;
    }
    view = PyMemoryView_FromObject(memory);
    Py_DECREF(memory);
    return view;
}

/* --- slots --- */

int ds_py_buffer_getbuffer(PyObject *object, Py_buffer *ret, int flags)
{
    struct ds_py_buffer *self = (struct ds_py_buffer *)object;

    ret->obj = NULL;
    if (self->buffer == NULL) {
        PyErr_SetString(PyExc_BufferError, "The buffer holds nothing");
        return -1;
    }
    if (PyBuffer_FillInfo(ret, object, (void *)(uintptr_t)ds_buffer_data(self->buffer),
                          (Py_ssize_t)ds_buffer_size(self->buffer), 1, flags) < 0) {
        return -1;
    }
    ret->internal = ds_py_buffer_export(self, false);
    return 0;
}

void ds_py_buffer_releasebuffer(PyObject *object, Py_buffer *buffer)
{
    ds_py_buffer_unexport((struct ds_py_buffer *)object, buffer->internal, false);
}

Py_ssize_t ds_py_buffer_length(PyObject *object)
{
    const struct ds_py_buffer *self = (struct ds_py_buffer *)object;

    return self->buffer != NULL ? (Py_ssize_t)ds_buffer_size(self->buffer) : 0;
}

/* --- methods --- */

PyObject *ds_py_buffer_release(PyObject *object, PyObject *unused)
{
    struct ds_py_buffer *self = (struct ds_py_buffer *)object;
    struct ds_buffer *buffer;
    Py_ssize_t views;

    (void)unused;
    if (self->buffer == NULL) {
        Py_RETURN_NONE;
    }
    if (ds_py_buffer_enter(self) < 0) {
        return NULL;
    }
    views = self->exports + self->left_exports;
    if (views > 0) { /* looked at now: while waiting above, somebody may have taken a view */
        ds_py_buffer_leave(self);
        PyErr_Format(PyExc_BufferError, "The buffer is in use by %zd memoryviews", views);
        return NULL;
    }
    buffer = self->buffer;
    self->buffer = NULL;
    ds_py_buffer_leave(self);
    ds_py_buffer_give(buffer);
    Py_RETURN_NONE;
}

PyObject *ds_py_buffer_with(PyObject *object, PyObject *unused)
{
    (void)unused;
    if (buffer_check((struct ds_py_buffer *)object) < 0) {
        return NULL;
    }
    Py_INCREF(object);
    return object;
}

PyObject *ds_py_buffer_end_with(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return ds_py_buffer_release(object, NULL);
}
