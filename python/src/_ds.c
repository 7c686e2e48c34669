/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _ds.c - the extension module yr.datasystem._ds: its types, state and functions.
 *
 * One file per type; this one puts them together. All state lives in the module, none in statics.
 */
#include "ds_py.h"

struct ds_py_state *ds_py_state_of(PyTypeObject *type)
{
    for (; type != NULL; type = type->tp_base) {
        PyObject *module;

        if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        module = ((PyHeapTypeObject *)type)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &ds_py_module) {
            return PyModule_GetState(module);
        }
    }
    PyErr_SetString(PyExc_SystemError, "not a type of yr.datasystem._ds");
    return NULL;
}

/* --- functions --- */

static struct ds_py_state *state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

static PyObject *error_info(PyObject *module, PyObject *code)
{
    long value = PyLong_AsLong(code);
    int number;

    (void)module;
    if (value == -1 && PyErr_Occurred() != NULL) {
        return NULL;
    }
    number = value > 0 && value <= INT32_MAX ? (int)value : 0;
    return Py_BuildValue("sss", ds_error_text(-number), ds_error_name(-number),
                         ds_error_hint(-number));
}

static PyObject *check_key(PyObject *module, PyObject *key)
{
    struct ds_bytes bytes;

    if (ds_py_key(state_of_module(module), key, &bytes) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *version(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(ds_version());
}

static PyMethodDef functions[] = {
    {"error_info", error_info, METH_O,
     "error_info($module, code, /)\n--\n\n(text, name, hint) of a status code."},
    {"check_key", check_key, METH_O,
     "check_key($module, key, /)\n--\n\nRaises unless a value may be set under this key."},
    {"version", version, METH_NOARGS, "version($module, /)\n--\n\nVersion of the library."},
    {NULL, NULL, 0, NULL},
};

/* --- set-up --- */

/* Adds the type under its short name; `abstract`: Python code cannot make instances. */
static int add_type(PyObject *module, PyType_Spec *spec, bool abstract, PyTypeObject **ret)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);

    if (type == NULL) {
        return -1;
    }
    *ret = type;
    if (abstract) {
        type->tp_new = NULL;
    }
    return PyModule_AddType(module, type);
}

static int add_types(PyObject *module, struct ds_py_state *state)
{
    if (add_type(module, &ds_py_connection_spec, false, &state->connection_type) < 0 ||
        add_type(module, &ds_py_kv_spec, false, &state->kv_type) < 0 ||
        add_type(module, &ds_py_objects_spec, false, &state->objects_type) < 0 ||
        add_type(module, &ds_py_view_spec, true, &state->view_type) < 0 ||
        add_type(module, &ds_py_memory_spec, true, &state->memory_type) < 0 ||
        add_type(module, &ds_py_value_buffer_spec, true, &state->value_buffer_type) < 0 ||
        add_type(module, &ds_py_buffer_spec, false, &state->buffer_type) < 0) {
        return -1;
    }
    return 0;
}

/* The members of an enum of _enums.py, in the order of their numbers. */
static int load_enum(PyObject *enums, const char *name, PyObject **ret, int n)
{
    PyObject *type = PyObject_GetAttrString(enums, name);

    if (type == NULL) {
        return -1;
    }
    for (int i = 0; i < n; i++) {
        ret[i] = PyObject_CallFunction(type, "i", i);
        if (ret[i] == NULL) {
            Py_DECREF(type);
            return -1;
        }
    }
    Py_DECREF(type);
    return 0;
}

static int load_enums(struct ds_py_state *state)
{
    PyObject *enums = PyImport_ImportModule("yr.datasystem._enums");
    int rc = 0;

    if (enums == NULL) {
        return -1;
    }
    if (load_enum(enums, "WriteMode", state->write_modes, 5) < 0 ||
        load_enum(enums, "ExistenceOpt", state->existence_opts, 2) < 0 ||
        load_enum(enums, "ConsistencyType", state->consistency_types, 2) < 0 ||
        load_enum(enums, "CacheType", state->cache_types, 2) < 0) {
        rc = -1;
    }
    Py_DECREF(enums);
    return rc;
}

static int module_exec(PyObject *module)
{
    struct ds_py_state *state = state_of_module(module);

    if (add_types(module, state) < 0) {
        return -1;
    }
    return load_enums(state);
}

static int visit_all(PyObject **objects, int n, visitproc visit, void *arg)
{
    for (int i = 0; i < n; i++) {
        Py_VISIT(objects[i]);
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct ds_py_state *state = state_of_module(module);
    int rc;

    Py_VISIT(state->connection_type);
    Py_VISIT(state->kv_type);
    Py_VISIT(state->objects_type);
    Py_VISIT(state->view_type);
    Py_VISIT(state->memory_type);
    Py_VISIT(state->value_buffer_type);
    Py_VISIT(state->buffer_type);
    Py_VISIT(state->make_error);
    Py_VISIT(state->make_status);
    rc = visit_all(state->write_modes, 5, visit, arg);
    rc = rc != 0 ? rc : visit_all(state->existence_opts, 2, visit, arg);
    rc = rc != 0 ? rc : visit_all(state->consistency_types, 2, visit, arg);
    return rc != 0 ? rc : visit_all(state->cache_types, 2, visit, arg);
}

static void clear_all(PyObject **objects, int n)
{
    for (int i = 0; i < n; i++) {
        Py_CLEAR(objects[i]);
    }
}

static int module_clear(PyObject *module)
{
    struct ds_py_state *state = state_of_module(module);

    Py_CLEAR(state->connection_type);
    Py_CLEAR(state->kv_type);
    Py_CLEAR(state->objects_type);
    Py_CLEAR(state->view_type);
    Py_CLEAR(state->memory_type);
    Py_CLEAR(state->value_buffer_type);
    Py_CLEAR(state->buffer_type);
    Py_CLEAR(state->make_error);
    Py_CLEAR(state->make_status);
    clear_all(state->write_modes, 5);
    clear_all(state->existence_opts, 2);
    clear_all(state->consistency_types, 2);
    clear_all(state->cache_types, 2);
    return 0;
}

static void module_free(void *module)
{
    struct ds_py_state *state = state_of_module(module);

    if (state != NULL) {
        ds_py_view_pool_clear(state);
        (void)module_clear(module);
    }
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef ds_py_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "yr.datasystem._ds",
    .m_doc = "The C part of yr.datasystem. Use the modules beside it.",
    .m_size = sizeof(struct ds_py_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__ds(void);

PyMODINIT_FUNC PyInit__ds(void)
{
    return PyModuleDef_Init(&ds_py_module);
}
