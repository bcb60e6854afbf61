/* Infos: keys with values, in the order in which they were set (MPI 3.1, chapter 9). */
#include "internal.h"

struct entry {
    struct entry *next;
    char key[MPI_MAX_INFO_KEY + 1], value[MPI_MAX_INFO_VAL + 1];
};

struct info {
    struct entry *first;
};

static struct table infos = {.first = 1};

static struct info *info_of(MPI_Info info)
{
    static struct info environment;
    return info == MPI_INFO_ENV ? &environment : mpi_table_at(&infos, info);
}

#define INFO(name, handle)                                                                                             \
    struct info *name = info_of(handle);                                                                               \
    CHECK(NULL, name, MPI_ERR_INFO)

static struct entry **find(struct info *info, const char *key)
{
    struct entry **at = &info->first;
    while (*at && !mpi_same_text((*at)->key, key))
        at = &(*at)->next;
    return at;
}

int MPI_Info_create(MPI_Info *info)
{
    *info = mpi_table_add(&infos, mpi_cleared(sizeof(struct info)));
    return MPI_SUCCESS;
}

int MPI_Info_set(MPI_Info info, const char *key, const char *value)
{
    INFO(i, info);
    CHECK(NULL, strlen(key) <= MPI_MAX_INFO_KEY, MPI_ERR_INFO_KEY);
    CHECK(NULL, strlen(value) <= MPI_MAX_INFO_VAL, MPI_ERR_INFO_VALUE);
    struct entry **at = find(i, key);
    if (!*at) {
        *at = mpi_cleared(sizeof **at);
        mpi_copy_text((*at)->key, key, sizeof (*at)->key, NULL);
    }
    mpi_copy_text((*at)->value, value, sizeof (*at)->value, NULL);
    return MPI_SUCCESS;
}

int MPI_Info_delete(MPI_Info info, const char *key)
{
    INFO(i, info);
    struct entry **at = find(i, key), *entry = *at;
    CHECK(NULL, entry, MPI_ERR_INFO_NOKEY);
    *at = entry->next;
    toro_release(entry);
    return MPI_SUCCESS;
}

int MPI_Info_free(MPI_Info *info)
{
    INFO(i, *info);
    while (i->first) {
        struct entry *entry = i->first;
        i->first = entry->next;
        toro_release(entry);
    }
    if (*info != MPI_INFO_ENV) {
        mpi_table_remove(&infos, *info);
        toro_release(i);
    }
    *info = MPI_INFO_NULL;
    return MPI_SUCCESS;
}

int MPI_Info_dup(MPI_Info info, MPI_Info *made)
{
    INFO(i, info);
    MPI_Info_create(made);
    for (struct entry *entry = i->first; entry; entry = entry->next)
        MPI_Info_set(*made, entry->key, entry->value);
    return MPI_SUCCESS;
}

int MPI_Info_create_env(int argc, char *argv[], MPI_Info *info)
{
    (void)argc, (void)argv;
    return MPI_Info_dup(MPI_INFO_ENV, info);
}

int MPI_Info_get(MPI_Info info, const char *key, int size, char *value, int *flag)
{
    INFO(i, info);
    struct entry *entry = *find(i, key);
    *flag = entry != NULL;
    if (entry)
        mpi_copy_text(value, entry->value, size + 1, NULL);
    return MPI_SUCCESS;
}

int MPI_Info_get_string(MPI_Info info, const char *key, int *size, char *value, int *flag)
{
    INFO(i, info);
    struct entry *entry = *find(i, key);
    *flag = entry != NULL;
    if (!entry)
        return MPI_SUCCESS;
    if (*size)
        mpi_copy_text(value, entry->value, *size, NULL);
    *size = strlen(entry->value) + 1;
    return MPI_SUCCESS;
}

int MPI_Info_get_valuelen(MPI_Info info, const char *key, int *length, int *flag)
{
    INFO(i, info);
    struct entry *entry = *find(i, key);
    *flag = entry != NULL;
    if (entry)
        *length = strlen(entry->value);
    return MPI_SUCCESS;
}

int MPI_Info_get_nkeys(MPI_Info info, int *count)
{
    INFO(i, info);
    *count = 0;
    for (struct entry *entry = i->first; entry; entry = entry->next)
        ++*count;
    return MPI_SUCCESS;
}

int MPI_Info_get_nthkey(MPI_Info info, int n, char *key)
{
    INFO(i, info);
    struct entry *entry = i->first;
    while (entry && n-- > 0)
        entry = entry->next;
    CHECK(NULL, entry, MPI_ERR_ARG);
    mpi_copy_text(key, entry->key, MPI_MAX_INFO_KEY, NULL);
    return MPI_SUCCESS;
}
