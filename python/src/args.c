/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c - arguments: exact types, ranges, keys and values.
 *
 * The rules are the original package's: a wrong type is a TypeError, and types are compared by
 * identity (True is no int); a wrong value is a RuntimeError.
 */
#include "ds_py.h"

#include <string.h>

static int signature_size(const struct ds_py_signature *signature)
{
    int n = 0;

    while (signature->names[n] != NULL) {
        n++;
    }
    return n;
}

static int parse_keyword(const struct ds_py_signature *signature, PyObject *name, PyObject *value,
                         PyObject **ret)
{
    for (int i = 0; signature->names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(name, signature->names[i]) != 0) {
            continue;
        }
        if (ret[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'",
                         signature->function, signature->names[i]);
            return -1;
        }
        ret[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                 signature->function, name);
    return -1;
}

int ds_py_parse(const struct ds_py_signature *signature, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames, PyObject **ret)
{
    Py_ssize_t n_keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    int n = signature_size(signature);

    if (nargs > signature->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)",
                     signature->function, signature->positional, nargs);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        ret[i] = i < nargs ? args[i] : NULL;
    }
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        if (parse_keyword(signature, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], ret) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < signature->required; i++) {
        if (ret[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'",
                         signature->function, signature->names[i]);
            return -1;
        }
    }
    return 0;
}

int ds_py_bad_type(const char *name, const char *valid)
{
    PyErr_Format(PyExc_TypeError, "The input of %s has invalid type, valid type: %s", name, valid);
    return -1;
}

int ds_py_int(struct ds_py_state *state, PyObject *object, const char *name, int64_t min,
              int64_t max, int64_t *ret)
{
    long long value;
    int overflow;

    if (object == NULL) {
        return 0;
    }
    if (!PyLong_CheckExact(object)) {
        return ds_py_bad_type(name, "[<class 'int'>]");
    }
    value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0 || value < min || value > max) {
        ds_py_fail(state, DS_EINVAL, NULL,
                   "Invalid %s size %S is set, which should be between [%lld,%lld]", name, object,
                   (long long)min, (long long)max);
        return -1;
    }
    *ret = value;
    return 0;
}

int ds_py_bool(PyObject *object, const char *name, bool *ret)
{
    if (object == NULL) {
        return 0;
    }
    if (!PyBool_Check(object)) {
        return ds_py_bad_type(name, "[<class 'bool'>]");
    }
    *ret = object == Py_True;
    return 0;
}

int ds_py_member(PyObject *object, const char *name, PyObject *const *members, int n, int *ret)
{
    if (object == NULL) {
        return 0;
    }
    for (int i = 0; i < n; i++) {
        if (object == members[i]) {
            *ret = i;
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "The input of %s has invalid type, valid type: [%R]", name,
                 (PyObject *)Py_TYPE(members[0]));
    return -1;
}

/* --- keys --- */

/* 1 for a-z A-Z 0-9 . - _ ! @ # % ^ * ( ) + = : ; */
static const uint8_t key_bytes[256] = {
    ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1,
    ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1,
    ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1,
    ['y'] = 1, ['z'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1,
    ['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1,
    ['O'] = 1, ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1,
    ['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1,
    ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['.'] = 1, ['-'] = 1,
    ['_'] = 1, ['!'] = 1, ['@'] = 1, ['#'] = 1, ['%'] = 1, ['^'] = 1, ['*'] = 1, ['('] = 1,
    [')'] = 1, ['+'] = 1, ['='] = 1, [':'] = 1, [';'] = 1,
};

static bool key_is_legal(const uint8_t *data, size_t size)
{
    unsigned legal = 1;

    for (size_t i = 0; i < size; i++) {
        legal &= key_bytes[data[i]];
    }
    return legal != 0 && size <= DS_KEY_SIZE_MAX;
}

static int key_illegal(struct ds_py_state *state, PyObject *object, Py_ssize_t size)
{
    PyObject *shown = PyUnicode_Check(object) ? PyObject_Str(object) : PyObject_Repr(object);

    if (shown == NULL) {
        return -1;
    }
    ds_py_fail(state, DS_EINVAL, object,
               "The key contains illegal char(s), allowed regex format: "
               "^[a-zA-Z0-9.\\-_!@#%%^*()+=:;]*$ or the length of key must be no more than %d. "
               "Current key: %.1100U, length: %zd",
               (int)DS_KEY_SIZE_MAX, shown, size);
    Py_DECREF(shown);
    return -1;
}

/* Cold: what is no str. The original takes bytes where it takes lists of keys. */
static int key_of_bytes(struct ds_py_state *state, PyObject *object, struct ds_bytes *ret)
{
    if (!PyBytes_Check(object)) {
        return ds_py_bad_type("key", "[<class 'str'>]");
    }
    ret->data = PyBytes_AS_STRING(object);
    ret->size = (size_t)PyBytes_GET_SIZE(object);
    if (ret->size > 0 && !key_is_legal(ret->data, ret->size)) {
        return key_illegal(state, object, PyBytes_GET_SIZE(object));
    }
    return 0;
}

int ds_py_key(struct ds_py_state *state, PyObject *object, struct ds_bytes *ret)
{
    Py_ssize_t size;

    if (!PyUnicode_Check(object)) {
        if (key_of_bytes(state, object, ret) < 0) {
            return -1;
        }
    } else {
        ret->data = PyUnicode_AsUTF8AndSize(object, &size);
        if (ret->data == NULL) { /* half a surrogate pair */
            if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
                return -1;
            }
            PyErr_Clear();
            return key_illegal(state, object, PyUnicode_GET_LENGTH(object));
        }
        ret->size = (size_t)size;
        if (!key_is_legal(ret->data, ret->size)) {
            return key_illegal(state, object, size);
        }
    }
    if (ret->size == 0) {
        ds_py_fail(state, DS_EINVAL, object, "The objectKey should not be empty.");
        return -1;
    }
    return 0;
}

/* Room for n keys, none of them filled. */
static int keys_alloc(size_t n, struct ds_py_keys *ret)
{
    char *block = PyMem_Malloc(n * (sizeof(*ret->keys) + sizeof(*ret->objects) + sizeof(int)));

    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ret->n = 0;
    ret->keys = (struct ds_bytes *)(void *)block;
    ret->objects = (PyObject **)(void *)(ret->keys + n);
    ret->results = (int *)(void *)(ret->objects + n);
    memset(ret->results, 0, n * sizeof(int));
    return 0;
}

static int keys_append(struct ds_py_state *state, struct ds_py_keys *keys, PyObject *object)
{
    if (ds_py_key(state, object, &keys->keys[keys->n]) < 0) {
        return -1;
    }
    Py_INCREF(object);
    keys->objects[keys->n++] = object;
    return 0;
}

/* An error raised for one key may run Python code, but then nothing is read from the list again. */
static int keys_fill(struct ds_py_state *state, PyObject *list, struct ds_py_keys *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (keys_append(state, keys, PyList_GET_ITEM(list, (Py_ssize_t)i)) < 0) {
            ds_py_keys_release(keys);
            return -1;
        }
    }
    return 0;
}

static int keys_check(struct ds_py_state *state, PyObject *list, const char *name, size_t max,
                      size_t *ret_n)
{
    size_t n;

    if (list == NULL || !PyList_CheckExact(list)) {
        return ds_py_bad_type(name, "[<class 'list'>]");
    }
    n = (size_t)PyList_GET_SIZE(list);
    if (n == 0) {
        ds_py_fail(state, DS_EINVAL, NULL, "The input of %s list should not be empty", name);
        return -1;
    }
    if (n > max) {
        ds_py_fail(state, DS_EINVAL, NULL, "The objectKeys size exceed %zu", max);
        return -1;
    }
    *ret_n = n;
    return 0;
}

int ds_py_keys_get(struct ds_py_state *state, PyObject *list, const char *name, size_t max,
                   struct ds_py_keys *ret)
{
    size_t n;

    if (keys_check(state, list, name, max, &n) < 0 || keys_alloc(n, ret) < 0) {
        return -1;
    }
    return keys_fill(state, list, ret, n);
}

int ds_py_nested_get(struct ds_py_state *state, PyObject *list, struct ds_py_keys *ret)
{
    *ret = (struct ds_py_keys){.n = 0};
    if (list == NULL || list == Py_None) {
        return 0;
    }
    if (!PyList_CheckExact(list)) {
        return ds_py_bad_type("nested_object_keys", "[<class 'list'>]");
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        if (!PyUnicode_Check(PyList_GET_ITEM(list, i))) {
            PyErr_SetString(PyExc_TypeError,
                            "The input of nested_object_keys should be a list of strings");
            return -1;
        }
    }
    if (PyList_GET_SIZE(list) == 0) {
        return 0;
    }
    return ds_py_keys_get(state, list, "nested_object_keys", DS_BATCH_MAX, ret);
}

/* No exception: false for what is no legal key. */
static bool key_read(PyObject *object, struct ds_bytes *ret)
{
    Py_ssize_t size = 0;

    if (PyUnicode_Check(object)) {
        ret->data = PyUnicode_AsUTF8AndSize(object, &size);
        if (ret->data == NULL) {
            PyErr_Clear();
            return false;
        }
    } else {
        ret->data = PyBytes_AS_STRING(object);
        size = PyBytes_GET_SIZE(object);
    }
    ret->size = (size_t)size;
    return size > 0 && key_is_legal(ret->data, ret->size);
}

int ds_py_keys_get_some(struct ds_py_state *state, PyObject *list, const char *name, size_t max,
                        struct ds_py_keys *ret)
{
    size_t n;

    if (keys_check(state, list, name, max, &n) < 0 || keys_alloc(n, ret) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        PyObject *object = PyList_GET_ITEM(list, (Py_ssize_t)i);
        bool is_key = PyUnicode_Check(object) || PyBytes_Check(object);

        if (i > 0 && is_key && !key_read(object, &ret->keys[i])) {
            ret->results[i] = DS_EINVAL;
            Py_INCREF(object);
            ret->objects[ret->n++] = object;
        } else if (keys_append(state, ret, object) < 0) {
            ds_py_keys_release(ret);
            return -1;
        }
    }
    return 0;
}

void ds_py_keys_release(struct ds_py_keys *keys)
{
    for (size_t i = 0; i < keys->n; i++) {
        Py_DECREF(keys->objects[i]);
    }
    PyMem_Free(keys->keys);
    *keys = (struct ds_py_keys){.n = 0};
}

PyObject *ds_py_keys_failed(const struct ds_py_keys *keys)
{
    PyObject *failed = PyList_New(0);

    if (failed == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < keys->n; i++) {
        if (keys->results[i] < 0 && PyList_Append(failed, keys->objects[i]) < 0) {
            Py_DECREF(failed);
            return NULL;
        }
    }
    return failed;
}

/* --- values --- */

/* With the format, to refuse arrays of Python objects; without, for types that cannot name theirs.
 */
static int get_buffer(PyObject *object, const char *name, Py_buffer *ret)
{
    if (PyObject_GetBuffer(object, ret, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyErr_Clear();
        return PyObject_GetBuffer(object, ret, PyBUF_SIMPLE);
    }
    if (ret->format != NULL && strchr(ret->format, 'O') != NULL) {
        PyBuffer_Release(ret);
        PyErr_Format(PyExc_TypeError, "The input of %s holds Python objects, not bytes", name);
        return -1;
    }
    return 0;
}

static int hold_buffer(PyObject *object, const char *name, struct ds_bytes *ret,
                       struct ds_py_held *held)
{
    if (get_buffer(object, name, &held->buffer) < 0) {
        held->buffer.obj = NULL;
        if (!PyErr_ExceptionMatches(PyExc_BufferError) &&
            !PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Format(PyExc_TypeError,
                     "The input of %s must lie in one piece in memory (numpy.ascontiguousarray() "
                     "makes such a copy)",
                     name);
        return -1;
    }
    ret->data = held->buffer.buf;
    ret->size = (size_t)held->buffer.len;
    return 0;
}

/* What offers no buffer itself, as a torch tensor does: _values.py knows how to get at its bytes.
 */
static int hold_tensor(PyObject *object, const char *name, struct ds_bytes *ret,
                       struct ds_py_held *held)
{
    PyObject *module = PyImport_ImportModule("yr.datasystem._values");
    PyObject *array;
    int rc;

    if (module == NULL) {
        return -1;
    }
    array = PyObject_CallMethod(module, "buffer_of", "Os", object, name);
    Py_DECREF(module);
    if (array == NULL) {
        return -1;
    }
    rc = hold_buffer(array, name, ret, held);
    Py_DECREF(array);
    return rc;
}

int ds_py_hold(PyObject *object, const char *name, struct ds_bytes *ret, struct ds_py_held *held)
{
    Py_ssize_t size;

    held->owner = NULL;
    held->buffer.obj = NULL;
    if (PyBytes_CheckExact(object)) {
        ret->data = PyBytes_AS_STRING(object);
        ret->size = (size_t)PyBytes_GET_SIZE(object);
    } else if (PyUnicode_Check(object)) {
        ret->data = PyUnicode_AsUTF8AndSize(object, &size);
        if (ret->data == NULL) {
            return -1;
        }
        ret->size = (size_t)size;
    } else if (PyObject_CheckBuffer(object)) {
        return hold_buffer(object, name, ret, held);
    } else {
        return hold_tensor(object, name, ret, held);
    }
    Py_INCREF(object);
    held->owner = object;
    return 0;
}

void ds_py_unhold(struct ds_py_held *held)
{
    Py_CLEAR(held->owner);
    if (held->buffer.obj != NULL) {
        PyBuffer_Release(&held->buffer);
    }
}
