/* Types: what they describe, and copying by them (MPI 3.1, section 4.1). A type is a list of blocks;
 * blocks that touch are one. */
#include "internal.h"

#include <stddef.h>

struct table mpi_types;

#define PAIR(name, T)                                                                                                  \
    {                                                                                                                  \
        #name, sizeof(T) + sizeof(int), offsetof(struct { T a; int b; }, b), sizeof(T), sizeof(struct { T a; int b; }) \
    }
#define PLAIN(name, T) {#name, sizeof(T), 0, sizeof(T), sizeof(T)}

/* In the order of mpi.h; second is the offset of the int of a pair. */
static const struct {
    const char *name;
    size_t size, second, first_size, extent;
} predefined[] = {
    PLAIN(MPI_CHAR, char), PLAIN(MPI_SIGNED_CHAR, char), PLAIN(MPI_UNSIGNED_CHAR, char), PLAIN(MPI_BYTE, char),
    PLAIN(MPI_WCHAR, int), PLAIN(MPI_SHORT, short), PLAIN(MPI_UNSIGNED_SHORT, short), PLAIN(MPI_INT, int),
    PLAIN(MPI_UNSIGNED, int), PLAIN(MPI_LONG, long), PLAIN(MPI_UNSIGNED_LONG, long),
    PLAIN(MPI_LONG_LONG_INT, long long), PLAIN(MPI_UNSIGNED_LONG_LONG, long long), PLAIN(MPI_FLOAT, float),
    PLAIN(MPI_DOUBLE, double), PLAIN(MPI_LONG_DOUBLE, long double), PLAIN(MPI_INT8_T, int8_t),
    PLAIN(MPI_INT16_T, int16_t), PLAIN(MPI_INT32_T, int32_t), PLAIN(MPI_INT64_T, int64_t), PLAIN(MPI_UINT8_T, int8_t),
    PLAIN(MPI_UINT16_T, int16_t), PLAIN(MPI_UINT32_T, int32_t), PLAIN(MPI_UINT64_T, int64_t),
    PLAIN(MPI_AINT, MPI_Aint), PLAIN(MPI_OFFSET, MPI_Offset), PLAIN(MPI_COUNT, MPI_Count), PLAIN(MPI_C_BOOL, _Bool),
    PLAIN(MPI_C_FLOAT_COMPLEX, float[2]), PLAIN(MPI_C_DOUBLE_COMPLEX, double[2]),
    PLAIN(MPI_C_LONG_DOUBLE_COMPLEX, long double[2]), PAIR(MPI_FLOAT_INT, float), PAIR(MPI_DOUBLE_INT, double),
    PAIR(MPI_LONG_INT, long), PLAIN(MPI_2INT, int[2]), PAIR(MPI_SHORT_INT, short),
    PAIR(MPI_LONG_DOUBLE_INT, long double), PLAIN(MPI_PACKED, char), PLAIN(MPI_LB, char[0]), PLAIN(MPI_UB, char[0]),
};

#define PREDEFINED ((int)(sizeof predefined / sizeof *predefined))

static struct type made[PREDEFINED];
static struct block blocks[PREDEFINED][2];

/* Of a number; a complex one has that of its parts, and a pair that of the larger. */
static int alignment_of(int kind)
{
    int size = predefined[kind].first_size;
    if (kind == MPI_C_FLOAT_COMPLEX || kind == MPI_C_DOUBLE_COMPLEX || kind == MPI_C_LONG_DOUBLE_COMPLEX)
        return size / 2;
    if (kind == MPI_2INT || (predefined[kind].second && size < (int)sizeof(int)))
        return sizeof(int);
    return size ? size : 1;
}

static void make_predefined(int kind)
{
    struct type *type = &made[kind];
    struct block *list = blocks[kind];
    size_t size = predefined[kind].size, second = predefined[kind].second;

    *type = (struct type){.size = size, .extent = predefined[kind].extent, .true_extent = size, .predefined = true,
                          .kind = kind, .alignment = alignment_of(kind), .references = 1, .blocks = list, .block_count = size > 0, .elements = size > 0,
                          .combiner = MPI_COMBINER_NAMED};
    type->plain = type->extent == (MPI_Aint)size;
    list[0] = (struct block){0, size, size};
    if (kind == MPI_2INT) {
        list[0].unit = sizeof(int);
        type->elements = 2;
    }
    if (second) {
        list[0] = (struct block){0, predefined[kind].first_size, predefined[kind].first_size};
        list[1] = (struct block){second, sizeof(int), sizeof(int)};
        type->block_count = type->elements = 2;
        type->true_extent = second + sizeof(int);
    }
    mpi_copy_text(type->name, predefined[kind].name, NAME_SIZE, NULL);
    mpi_table_add(&mpi_types, type);
}

void mpi_start_types(void)
{
    for (int kind = 0; kind < PREDEFINED; kind++)
        make_predefined(kind);
}

MPI_Datatype mpi_add_type(struct type *type)
{
    mpi_type(0);
    type->handles++;
    return mpi_table_add(&mpi_types, type);
}

void mpi_hold_type(struct type *type)
{
    if (type) /* none: with MPI_PROC_NULL */
        type->references += !type->predefined;
}

void mpi_release_type(struct type *type)
{
    if (!type || type->predefined || --type->references)
        return;
    toro_release(type->blocks);
    toro_release(type->integers.list);
    toro_release(type->addresses.list);
    toro_release(type->counts.list);
    for (int i = 0; i < type->type_count; i++)
        mpi_release_type(type->types[i]);
    toro_release(type->types);
    toro_release(type);
}

/* ---- Copying ---- */

void mpi_pack(const void *data, MPI_Count count, const struct type *type, void *to)
{
    char *target = to;
    if (type->plain) {
        mpi_copy(to, data, type->size * count);
        return;
    }
    for (MPI_Count i = 0; i < count; i++)
        for (int j = 0; j < type->block_count; j++) {
            struct block *block = &type->blocks[j];
            mpi_copy(target, (const char *)data + i * type->extent + block->offset, block->size);
            target += block->size;
        }
}

void mpi_unpack(const void *from, size_t bytes, void *data, MPI_Count count, const struct type *type)
{
    const char *source = from;
    if (type->plain) {
        mpi_copy(data, from, bytes);
        return;
    }
    for (MPI_Count i = 0; i < count && bytes; i++)
        for (int j = 0; j < type->block_count && bytes; j++) {
            struct block *block = &type->blocks[j];
            size_t size = block->size < bytes ? block->size : bytes;
            mpi_copy((char *)data + i * type->extent + block->offset, source, size);
            source += size;
            bytes -= size;
        }
}

int mpi_copy_typed(const void *from, MPI_Count from_count, MPI_Datatype from_type, void *to, MPI_Count to_count,
                   MPI_Datatype to_type)
{
    struct type *source = mpi_type(from_type), *target = mpi_type(to_type);
    size_t bytes = source->size * from_count, room = target->size * to_count;
    int result = bytes > room ? MPI_ERR_TRUNCATE : MPI_SUCCESS;
    bytes = bytes > room ? room : bytes;
    if (source->plain)
        mpi_unpack(from, bytes, to, to_count, target);
    else {
        void *packed = mpi_memory(source->size * from_count + 1);
        mpi_pack(from, from_count, source, packed);
        mpi_unpack(packed, bytes, to, to_count, target);
        toro_release(packed);
    }
    return result;
}

/* ---- What a type is ---- */

int MPI_Type_size_x(MPI_Datatype type, MPI_Count *size)
{
    TYPE(t, type);
    *size = t->size;
    return MPI_SUCCESS;
}

int MPI_Type_size_c(MPI_Datatype, MPI_Count *) __attribute__((alias("MPI_Type_size_x")));

int MPI_Type_size(MPI_Datatype type, int *size)
{
    TYPE(t, type);
    *size = t->size > INT32_MAX ? MPI_UNDEFINED : (int)t->size;
    return MPI_SUCCESS;
}

int MPI_Type_get_extent(MPI_Datatype type, MPI_Aint *lower, MPI_Aint *extent)
{
    TYPE(t, type);
    *lower = t->lower;
    *extent = t->extent;
    return MPI_SUCCESS;
}

int MPI_Type_get_extent_x(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent)
{
    TYPE(t, type);
    *lower = t->lower;
    *extent = t->extent;
    return MPI_SUCCESS;
}

int MPI_Type_get_extent_c(MPI_Datatype, MPI_Count *, MPI_Count *) __attribute__((alias("MPI_Type_get_extent_x")));

int MPI_Type_get_true_extent(MPI_Datatype type, MPI_Aint *lower, MPI_Aint *extent)
{
    TYPE(t, type);
    *lower = t->true_lower;
    *extent = t->true_extent;
    return MPI_SUCCESS;
}

int MPI_Type_get_true_extent_x(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent)
{
    TYPE(t, type);
    *lower = t->true_lower;
    *extent = t->true_extent;
    return MPI_SUCCESS;
}

int MPI_Type_get_true_extent_c(MPI_Datatype, MPI_Count *, MPI_Count *)
    __attribute__((alias("MPI_Type_get_true_extent_x")));

int MPI_Type_extent(MPI_Datatype type, MPI_Aint *extent)
{
    MPI_Aint lower;
    return MPI_Type_get_extent(type, &lower, extent);
}

int MPI_Type_lb(MPI_Datatype type, MPI_Aint *lower)
{
    MPI_Aint extent;
    return MPI_Type_get_extent(type, lower, &extent);
}

int MPI_Type_ub(MPI_Datatype type, MPI_Aint *upper)
{
    TYPE(t, type);
    *upper = t->lower + t->extent;
    return MPI_SUCCESS;
}

int MPI_Type_commit(MPI_Datatype *type)
{
    TYPE(t, *type);
    (void)t;
    return MPI_SUCCESS;
}

int MPI_Type_free(MPI_Datatype *type)
{
    TYPE(t, *type);
    CHECK(NULL, !t->predefined, MPI_ERR_TYPE);
    int result = t->handles > 1 ? MPI_SUCCESS : mpi_delete_attributes(*type, &t->attributes);
    CHECK(NULL, result == MPI_SUCCESS, result);
    t->handles--;
    if (!mpi_activities) { /* a collective operation knows types by their handles */
        mpi_table_remove(&mpi_types, *type);
        mpi_release_type(t);
    }
    *type = MPI_DATATYPE_NULL;
    return MPI_SUCCESS;
}

int MPI_Type_get_name(MPI_Datatype type, char *name, int *length)
{
    TYPE(t, type);
    mpi_copy_text(name, t->name, NAME_SIZE, length);
    return MPI_SUCCESS;
}

int MPI_Type_set_name(MPI_Datatype type, const char *name)
{
    TYPE(t, type);
    mpi_copy_text(t->name, name, NAME_SIZE, NULL);
    return MPI_SUCCESS;
}

int MPI_Get_address(const void *place, MPI_Aint *address)
{
    *address = (MPI_Aint)place;
    return MPI_SUCCESS;
}

int MPI_Address(void *place, MPI_Aint *address)
{
    return MPI_Get_address(place, address);
}

MPI_Aint MPI_Aint_add(MPI_Aint base, MPI_Aint offset)
{
    return base + offset;
}

MPI_Aint MPI_Aint_diff(MPI_Aint a, MPI_Aint b)
{
    return a - b;
}

/* ---- Counts of a status ---- */

int MPI_Get_count_c(const MPI_Status *status, MPI_Datatype type, MPI_Count *count)
{
    TYPE(t, type);
    MPI_Count size = t->size;
    if (!size)
        *count = status->bytes ? MPI_UNDEFINED : 0;
    else
        *count = status->bytes % size ? MPI_UNDEFINED : status->bytes / size;
    return MPI_SUCCESS;
}

int MPI_Get_count(const MPI_Status *status, MPI_Datatype type, int *count)
{
    MPI_Count large = 0;
    int result = MPI_Get_count_c(status, type, &large);
    *count = large > INT32_MAX ? MPI_UNDEFINED : large;
    return result;
}

int MPI_Get_elements_x(const MPI_Status *status, MPI_Datatype type, MPI_Count *count)
{
    TYPE(t, type);
    MPI_Count rest = status->bytes;
    *count = 0;
    if (!t->size)
        return MPI_SUCCESS;
    *count = rest / t->size * t->elements;
    rest %= t->size;
    for (int i = 0; i < t->block_count && rest; i++) {
        MPI_Count part = rest < (MPI_Count)t->blocks[i].size ? rest : (MPI_Count)t->blocks[i].size;
        if (part % t->blocks[i].unit) {
            *count = MPI_UNDEFINED;
            return MPI_SUCCESS;
        }
        *count += part / t->blocks[i].unit;
        rest -= part;
    }
    return MPI_SUCCESS;
}

int MPI_Get_elements_c(const MPI_Status *, MPI_Datatype, MPI_Count *) __attribute__((alias("MPI_Get_elements_x")));

int MPI_Get_elements(const MPI_Status *status, MPI_Datatype type, int *count)
{
    MPI_Count elements = 0;
    int result = MPI_Get_elements_x(status, type, &elements);
    *count = elements > INT32_MAX ? MPI_UNDEFINED : elements;
    return result;
}

int MPI_Status_set_elements_x(MPI_Status *status, MPI_Datatype type, MPI_Count count)
{
    TYPE(t, type);
    status->bytes = t->elements ? count * t->size / t->elements : 0;
    return MPI_SUCCESS;
}

int MPI_Status_set_elements_c(MPI_Status *, MPI_Datatype, MPI_Count)
    __attribute__((alias("MPI_Status_set_elements_x")));

int MPI_Status_set_elements(MPI_Status *status, MPI_Datatype type, int count)
{
    return MPI_Status_set_elements_x(status, type, count);
}

/* ---- Attributes ---- */

int MPI_Type_set_attr(MPI_Datatype type, int key, void *value)
{
    TYPE(t, type);
    int result = mpi_set_attribute(type, &t->attributes, key, value);
    CHECK(NULL, result == MPI_SUCCESS, result);
    return result;
}

int MPI_Type_get_attr(MPI_Datatype type, int key, void *value, int *flag)
{
    TYPE(t, type);
    int result = mpi_get_attribute(t->attributes, key, value, flag);
    CHECK(NULL, result == MPI_SUCCESS, result);
    return result;
}

int MPI_Type_delete_attr(MPI_Datatype type, int key)
{
    TYPE(t, type);
    int result = mpi_delete_attribute(type, &t->attributes, key);
    CHECK(NULL, result == MPI_SUCCESS, result);
    return result;
}
