/* Attributes of communicators, types and windows (MPI 3.1, section 6.7). */
#include "internal.h"

#define FIRST_KEY 64
#define TAG_MAX 0x7fffffff

struct key {
    MPI_Comm_copy_attr_function *copy;
    MPI_Comm_delete_attr_function *remove;
    void *state;
    int number, attributes; /* attributes: how many have it */
    bool freed;             /* its number remains taken while any has it */
};

struct attribute {
    struct attribute *next;
    struct key *key;
    void *value;
};

static struct table keys = {.first = FIRST_KEY};

int MPI_COMM_DUP_FN(MPI_Comm comm, int key, void *state, void *value, void *copy, int *flag)
{
    (void)comm, (void)key, (void)state;
    *(void **)copy = value;
    *flag = true;
    return MPI_SUCCESS;
}

static void add(struct attribute **attributes, struct key *key, void *value)
{
    struct attribute *made = mpi_memory(sizeof *made);
    *made = (struct attribute){*attributes, key, value};
    *attributes = made;
    key->attributes++;
}

static void release(struct key *key)
{
    if (key->attributes || !key->freed)
        return;
    mpi_table_remove(&keys, key->number);
    toro_release(key);
}

static struct attribute **find(struct attribute **attributes, int key)
{
    while (*attributes && (*attributes)->key->number != key)
        attributes = &(*attributes)->next;
    return attributes;
}

int mpi_copy_attributes(int handle, struct attribute *from, struct attribute **to)
{
    for (; from; from = from->next) {
        void *value;
        int flag = false;
        struct key *key = from->key;
        if (!key->copy)
            continue;
        int result = key->copy(handle, key->number, key->state, from->value, &value, &flag);
        if (result)
            return result;
        if (flag)
            add(to, key, value);
    }
    return MPI_SUCCESS;
}

static int delete(int handle, struct attribute **attributes, struct attribute *attribute)
{
    struct key *key = attribute->key;
    if (key->remove) {
        int result = key->remove(handle, key->number, attribute->value, key->state);
        if (result)
            return result;
    }
    struct attribute **at = attributes;
    while (*at != attribute) /* whose function may have deleted others */
        at = &(*at)->next;
    *at = attribute->next;
    toro_release(attribute);
    key->attributes--;
    release(key);
    return MPI_SUCCESS;
}

int mpi_delete_attributes(int handle, struct attribute **attributes)
{
    int result = MPI_SUCCESS;
    while (!result && *attributes)
        result = delete(handle, attributes, *attributes);
    return result;
}

int mpi_set_attribute(int handle, struct attribute **attributes, int key, void *value)
{
    struct key *found = key < FIRST_KEY ? NULL : mpi_table_at(&keys, key);
    struct attribute *old = *find(attributes, key);
    if (!found || found->freed)
        return MPI_ERR_KEYVAL;
    if (old) {
        int result = delete(handle, attributes, old);
        if (result)
            return result;
    }
    add(attributes, found, value);
    return MPI_SUCCESS;
}

int mpi_get_attribute(struct attribute *attributes, int key, void *value, int *flag)
{
    if (key == MPI_KEYVAL_INVALID)
        return MPI_ERR_KEYVAL;
    struct attribute *found = *find(&attributes, key);
    *flag = found != NULL;
    if (found)
        *(void **)value = found->value;
    return MPI_SUCCESS;
}

int mpi_delete_attribute(int handle, struct attribute **attributes, int key)
{
    struct attribute *attribute = *find(attributes, key);
    return attribute ? delete(handle, attributes, attribute) : MPI_ERR_KEYVAL;
}

/* What MPI itself says. */
static int predefined(int key, void *value, int *flag)
{
    static int tag_max = TAG_MAX, host = MPI_PROC_NULL, io = MPI_ANY_SOURCE, global = true, size, last;
    int *places[] = {[MPI_TAG_UB] = &tag_max, [MPI_HOST] = &host, [MPI_IO] = &io, [MPI_WTIME_IS_GLOBAL] = &global,
                     [MPI_UNIVERSE_SIZE] = &size, [MPI_LASTUSEDCODE] = &last, [MPI_APPNUM] = NULL};
    size = mpi_size;
    last = mpi_last_used;
    *flag = places[key] != NULL;
    if (*flag)
        *(int **)value = places[key];
    return MPI_SUCCESS;
}

int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function *copy, MPI_Comm_delete_attr_function *remove, int *key,
                           void *state)
{
    struct key *made = mpi_memory(sizeof *made);
    *made = (struct key){copy, remove, state, mpi_table_add(&keys, made), 0, false};
    *key = made->number;
    return MPI_SUCCESS;
}

int MPI_Comm_free_keyval(int *key)
{
    struct key *found = *key < FIRST_KEY ? NULL : mpi_table_at(&keys, *key);
    CHECK(NULL, found, MPI_ERR_KEYVAL);
    found->freed = true;
    release(found);
    *key = MPI_KEYVAL_INVALID;
    return MPI_SUCCESS;
}

int MPI_Comm_set_attr(MPI_Comm comm, int key, void *value)
{
    COMMUNICATOR(c, comm);
    int result = mpi_set_attribute(comm, &c->attributes, key, value);
    CHECK(c, result == MPI_SUCCESS, result);
    return result;
}

int MPI_Comm_get_attr(MPI_Comm comm, int key, void *value, int *flag)
{
    COMMUNICATOR(c, comm);
    if (key >= MPI_TAG_UB && key <= MPI_APPNUM)
        return predefined(key, value, flag);
    int result = mpi_get_attribute(c->attributes, key, value, flag);
    CHECK(c, result == MPI_SUCCESS, result);
    return result;
}

int MPI_Comm_delete_attr(MPI_Comm comm, int key)
{
    COMMUNICATOR(c, comm);
    int result = mpi_delete_attribute(comm, &c->attributes, key);
    CHECK(c, result == MPI_SUCCESS, result);
    return result;
}

#define SAME(name, parameters, call)                                                                                   \
    int name parameters                                                                                                \
    {                                                                                                                  \
        return call;                                                                                                   \
    }

SAME(MPI_Keyval_create, (MPI_Copy_function * copy, MPI_Delete_function *remove, int *key, void *state),
     MPI_Comm_create_keyval(copy, remove, key, state))
SAME(MPI_Type_create_keyval,
     (MPI_Type_copy_attr_function * copy, MPI_Type_delete_attr_function *remove, int *key, void *state),
     MPI_Comm_create_keyval(copy, remove, key, state))
SAME(MPI_Win_create_keyval,
     (MPI_Win_copy_attr_function * copy, MPI_Win_delete_attr_function *remove, int *key, void *state),
     MPI_Comm_create_keyval(copy, remove, key, state))
SAME(MPI_Keyval_free, (int *key), MPI_Comm_free_keyval(key))
SAME(MPI_Type_free_keyval, (int *key), MPI_Comm_free_keyval(key))
SAME(MPI_Win_free_keyval, (int *key), MPI_Comm_free_keyval(key))
SAME(MPI_Attr_put, (MPI_Comm comm, int key, void *value), MPI_Comm_set_attr(comm, key, value))
SAME(MPI_Attr_get, (MPI_Comm comm, int key, void *value, int *flag), MPI_Comm_get_attr(comm, key, value, flag))
SAME(MPI_Attr_delete, (MPI_Comm comm, int key), MPI_Comm_delete_attr(comm, key))
