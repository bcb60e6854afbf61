/* Types made of others (MPI 3.1, section 4.1.2). */
#include "internal.h"

/* A type that is being made. */
struct maker {
    struct type *type;
    int room;
    bool any, has_lower, has_upper;
    MPI_Aint upper, true_upper;
};

static void begin(struct maker *maker, int combiner)
{
    *maker = (struct maker){.type = mpi_cleared(sizeof(struct type)), .room = 16};
    maker->type->blocks = mpi_memory(maker->room * sizeof(struct block));
    maker->type->references = 1;
    maker->type->kind = -2;
    maker->type->alignment = 1;
    maker->type->combiner = combiner;
}

static void add_block(struct maker *maker, struct block block)
{
    struct type *type = maker->type;
    struct block *last = type->block_count ? &type->blocks[type->block_count - 1] : NULL;
    if (last && last->offset + (MPI_Aint)last->size == block.offset && last->unit == block.unit) {
        last->size += block.size;
        return;
    }
    if (type->block_count == maker->room) {
        struct block *blocks = mpi_memory(2 * maker->room * sizeof *blocks);
        memcpy(blocks, type->blocks, maker->room * sizeof *blocks);
        toro_release(type->blocks);
        type->blocks = blocks;
        maker->room *= 2;
    }
    type->blocks[type->block_count++] = block;
}

/* Adds `count` elements of a type, the first of them at `offset`. */
static void add(struct maker *maker, MPI_Datatype handle, MPI_Aint offset, MPI_Aint count)
{
    struct type *type = maker->type, *old = mpi_type(handle);
    MPI_Aint lower = offset + old->lower, true_lower = offset + old->true_lower, upper, true_upper;

    if (handle == MPI_LB || handle == MPI_UB) {
        if (handle == MPI_LB && (!maker->has_lower || offset < type->lower)) {
            maker->has_lower = true;
            type->lower = offset;
        } else if (handle == MPI_UB && (!maker->has_upper || offset > maker->upper)) {
            maker->has_upper = true;
            maker->upper = offset;
        }
        return;
    }
    if (count <= 0)
        return;
    if (old->extent < 0 && count > 1) {
        lower += (count - 1) * old->extent;
        true_lower += (count - 1) * old->extent;
    }
    upper = lower + old->extent + (count - 1) * (old->extent < 0 ? -old->extent : old->extent);
    true_upper = true_lower + old->true_extent + (count - 1) * (old->extent < 0 ? -old->extent : old->extent);
    if (!maker->has_lower && (!maker->any || lower < type->lower))
        type->lower = lower;
    if (!maker->has_upper && (!maker->any || upper > maker->upper))
        maker->upper = upper;
    if (!maker->any || true_lower < type->true_lower)
        type->true_lower = true_lower;
    if (!maker->any || true_upper > maker->true_upper)
        maker->true_upper = true_upper;
    maker->any = true;
    type->kind = type->kind == -2 || type->kind == old->kind ? old->kind : -1;
    type->size += old->size * count;
    type->elements += old->elements * count;
    if (old->alignment > type->alignment)
        type->alignment = old->alignment;
    if (old->plain) {
        if (old->size)
            add_block(maker, (struct block){offset, old->size * count, old->blocks[0].unit});
        return;
    }
    for (MPI_Aint i = 0; i < count; i++)
        for (int j = 0; j < old->block_count; j++) {
            struct block block = old->blocks[j];
            block.offset += offset + i * old->extent;
            add_block(maker, block);
        }
}

static void remember(struct maker *maker, int integers, const int *values, int addresses, const MPI_Aint *places,
                     int types, const MPI_Datatype *old)
{
    struct type *type = maker->type;
    type->integer_count = integers;
    type->address_count = addresses;
    type->type_count = types;
    type->integers = mpi_memory(integers * sizeof *values + 1);
    type->addresses = mpi_memory(addresses * sizeof *places + 1);
    type->types = mpi_memory(types * sizeof *old + 1);
    mpi_copy(type->integers, values, integers * sizeof *values);
    mpi_copy(type->addresses, places, addresses * sizeof *places);
    mpi_copy(type->types, old, types * sizeof *old);
}

static int finish(struct maker *maker, MPI_Datatype *handle)
{
    struct type *type = maker->type;
    type->extent = maker->upper - type->lower;
    type->true_extent = maker->true_upper - type->true_lower;
    type->plain = type->extent == (MPI_Aint)type->size &&
                  (!type->block_count || (type->block_count == 1 && !type->blocks[0].offset));
    if (type->kind == -2)
        type->kind = -1;
    *handle = mpi_add_type(type);
    return MPI_SUCCESS;
}

/* Pads the extent of a struct as a compiler would. */
static void align(struct maker *maker)
{
    MPI_Aint extent = maker->upper - maker->type->lower, over = extent % maker->type->alignment;
    if (!maker->has_upper && over > 0)
        maker->upper += maker->type->alignment - over;
}

int MPI_Type_contiguous(int count, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    begin(&maker, MPI_COMBINER_CONTIGUOUS);
    add(&maker, old, 0, count);
    remember(&maker, 1, &count, 0, NULL, 1, &old);
    return finish(&maker, type);
}

static void add_vector(struct maker *maker, int count, int length, MPI_Aint stride, MPI_Datatype old)
{
    for (MPI_Aint i = 0; i < count; i++)
        add(maker, old, i * stride, length);
}

int MPI_Type_vector(int count, int length, int stride, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, length >= 0, MPI_ERR_ARG);
    begin(&maker, MPI_COMBINER_VECTOR);
    add_vector(&maker, count, length, stride * t->extent, old);
    remember(&maker, 3, (int[]){count, length, stride}, 0, NULL, 1, &old);
    return finish(&maker, type);
}

int MPI_Type_create_hvector(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, length >= 0, MPI_ERR_ARG);
    begin(&maker, MPI_COMBINER_HVECTOR);
    add_vector(&maker, count, length, stride, old);
    remember(&maker, 2, (int[]){count, length}, 1, &stride, 1, &old);
    return finish(&maker, type);
}

int MPI_Type_hvector(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type)
{
    return MPI_Type_create_hvector(count, length, stride, old, type);
}

/* All of the indexed ones: `lengths` or one length for all; offsets in elements or in bytes. */
static int make_indexed(int combiner, const char *call, int count, const int *lengths, int length, const int *offsets,
                        const MPI_Aint *places, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    struct type *t = mpi_type(old);
    int numbers = 1 + (lengths ? count : 1) + (offsets ? count : 0), n = 0;
    if (!t)
        return mpi_fail(NULL, call, MPI_ERR_TYPE);
    if (count < 0)
        return mpi_fail(NULL, call, MPI_ERR_COUNT);
    int *integers = mpi_memory(numbers * sizeof *integers);
    begin(&maker, combiner);
    integers[n++] = count;
    if (!lengths)
        integers[n++] = length;
    for (int i = 0; lengths && i < count; i++)
        integers[n++] = lengths[i];
    for (int i = 0; i < count; i++) {
        add(&maker, old, offsets ? offsets[i] * t->extent : places[i], lengths ? lengths[i] : length);
        if (offsets)
            integers[n++] = offsets[i];
    }
    remember(&maker, numbers, integers, offsets ? 0 : count, places, 1, &old);
    toro_release(integers);
    return finish(&maker, type);
}

int MPI_Type_indexed(int count, const int lengths[], const int offsets[], MPI_Datatype old, MPI_Datatype *type)
{
    static const int none;
    return make_indexed(MPI_COMBINER_INDEXED, __func__, count, lengths ? lengths : &none, 0, offsets ? offsets : &none,
                        NULL, old, type);
}

int MPI_Type_create_hindexed(int count, const int lengths[], const MPI_Aint offsets[], MPI_Datatype old,
                             MPI_Datatype *type)
{
    static const int none;
    return make_indexed(MPI_COMBINER_HINDEXED, __func__, count, lengths ? lengths : &none, 0, NULL, offsets, old, type);
}

int MPI_Type_hindexed(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype *type)
{
    return MPI_Type_create_hindexed(count, lengths, offsets, old, type);
}

int MPI_Type_create_indexed_block(int count, int length, const int offsets[], MPI_Datatype old, MPI_Datatype *type)
{
    static const int none;
    return make_indexed(MPI_COMBINER_INDEXED_BLOCK, __func__, count, NULL, length, offsets ? offsets : &none, NULL, old,
                        type);
}

int MPI_Type_create_hindexed_block(int count, int length, const MPI_Aint offsets[], MPI_Datatype old,
                                   MPI_Datatype *type)
{
    return make_indexed(MPI_COMBINER_HINDEXED_BLOCK, __func__, count, NULL, length, NULL, offsets, old, type);
}

int MPI_Type_create_struct(int count, const int lengths[], const MPI_Aint offsets[], const MPI_Datatype types[],
                           MPI_Datatype *type)
{
    struct maker maker;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    for (int i = 0; i < count; i++)
        CHECK(NULL, mpi_type(types[i]), MPI_ERR_TYPE);
    begin(&maker, MPI_COMBINER_STRUCT);
    for (int i = 0; i < count; i++)
        add(&maker, types[i], offsets[i], lengths[i]);
    align(&maker);
    int *integers = mpi_memory((1 + count) * sizeof *integers);
    integers[0] = count;
    mpi_copy(integers + 1, lengths, count * sizeof *integers);
    remember(&maker, 1 + count, integers, count, offsets, count, types);
    toro_release(integers);
    return finish(&maker, type);
}

int MPI_Type_struct(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype types[], MPI_Datatype *type)
{
    return MPI_Type_create_struct(count, lengths, offsets, types, type);
}

int MPI_Type_create_resized(MPI_Datatype old, MPI_Aint lower, MPI_Aint extent, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    begin(&maker, MPI_COMBINER_RESIZED);
    add(&maker, old, 0, 1);
    maker.type->lower = lower;
    maker.upper = lower + extent;
    remember(&maker, 0, NULL, 2, (MPI_Aint[]){lower, extent}, 1, &old);
    return finish(&maker, type);
}

int MPI_Type_dup(MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    begin(&maker, MPI_COMBINER_DUP);
    add(&maker, old, 0, 1);
    maker.type->lower = t->lower;
    maker.upper = t->lower + t->extent;
    remember(&maker, 0, NULL, 0, NULL, 1, &old);
    finish(&maker, type);
    int result = mpi_copy_attributes(old, t->attributes, &maker.type->attributes);
    if (result != MPI_SUCCESS)
        MPI_Type_free(type);
    CHECK(NULL, result == MPI_SUCCESS, result);
    return MPI_SUCCESS;
}

/* Puts the parts of an array's rows together, from the dimension that varies fastest. */
static MPI_Datatype row_of(MPI_Datatype old, int size, int part, int start, MPI_Aint stride)
{
    MPI_Datatype made;
    struct maker maker;
    begin(&maker, MPI_COMBINER_SUBARRAY);
    for (MPI_Aint i = 0; i < part; i++)
        add(&maker, old, (start + i) * stride, 1);
    maker.type->lower = 0;
    maker.upper = size * stride;
    finish(&maker, &made);
    return made;
}

int MPI_Type_create_subarray(int dimensions, const int sizes[], const int parts[], const int starts[], int order,
                             MPI_Datatype old, MPI_Datatype *type)
{
    TYPE(t, old);
    MPI_Aint stride = t->extent;
    MPI_Datatype now = old;
    CHECK(NULL, dimensions > 0, MPI_ERR_ARG);
    CHECK(NULL, order == MPI_ORDER_C || order == MPI_ORDER_FORTRAN, MPI_ERR_ARG);
    for (int i = 0; i < dimensions; i++)
        CHECK(NULL, sizes[i] > 0 && parts[i] > 0 && starts[i] >= 0 && starts[i] + parts[i] <= sizes[i], MPI_ERR_ARG);
    for (int i = 0; i < dimensions; i++) {
        int at = order == MPI_ORDER_C ? dimensions - 1 - i : i;
        MPI_Datatype next = row_of(now, sizes[at], parts[at], starts[at], stride);
        stride *= sizes[at];
        if (now != old)
            MPI_Type_free(&now);
        now = next;
    }
    struct type *made = mpi_type(now);
    made->integer_count = 3 * dimensions + 2;
    made->type_count = 1;
    toro_release(made->integers ? made->integers : mpi_memory(1));
    made->integers = mpi_memory(made->integer_count * sizeof(int));
    made->integers[0] = dimensions;
    mpi_copy(made->integers + 1, sizes, dimensions * sizeof(int));
    mpi_copy(made->integers + 1 + dimensions, parts, dimensions * sizeof(int));
    mpi_copy(made->integers + 1 + 2 * dimensions, starts, dimensions * sizeof(int));
    made->integers[1 + 3 * dimensions] = order;
    made->types = mpi_memory(sizeof old);
    *made->types = old;
    *type = now;
    return MPI_SUCCESS;
}

int MPI_Type_create_darray(int size, int rank, int dimensions, const int sizes[], const int distributions[],
                           const int arguments[], const int grid[], int order, MPI_Datatype old, MPI_Datatype *type)
{
    TYPE(t, old);
    MPI_Aint stride = t->extent;
    MPI_Datatype now = old;
    int *coordinates = mpi_memory(dimensions * sizeof(int));
    CHECK(NULL, dimensions > 0 && rank >= 0 && rank < size, MPI_ERR_ARG);
    for (int i = dimensions - 1, rest = rank; i >= 0; i--) {
        coordinates[i] = rest % grid[i];
        rest /= grid[i];
    }
    for (int i = 0; i < dimensions; i++) {
        int at = order == MPI_ORDER_C ? dimensions - 1 - i : i, whole = sizes[at], block = arguments[at];
        struct maker maker;
        MPI_Datatype next;
        if (distributions[at] == MPI_DISTRIBUTE_NONE)
            block = whole;
        else if (block == MPI_DISTRIBUTE_DFLT_DARG)
            block = distributions[at] == MPI_DISTRIBUTE_BLOCK ? (whole + grid[at] - 1) / grid[at] : 1;
        begin(&maker, MPI_COMBINER_DARRAY);
        for (int j = 0; j < whole; j++)
            if (distributions[at] == MPI_DISTRIBUTE_NONE || j / block % grid[at] == coordinates[at])
                add(&maker, now, j * stride, 1);
        maker.type->lower = 0;
        stride *= whole;
        maker.upper = stride;
        finish(&maker, &next);
        if (now != old)
            MPI_Type_free(&now);
        now = next;
    }
    toro_release(coordinates);
    *type = now;
    return MPI_SUCCESS;
}

/* ---- How a type was made ---- */

int MPI_Type_get_envelope(MPI_Datatype type, int *integers, int *addresses, int *types, int *combiner)
{
    TYPE(t, type);
    *integers = t->integer_count;
    *addresses = t->address_count;
    *types = t->type_count;
    *combiner = t->combiner;
    return MPI_SUCCESS;
}

int MPI_Type_get_contents(MPI_Datatype type, int max_integers, int max_addresses, int max_types, int integers[],
                          MPI_Aint addresses[], MPI_Datatype types[])
{
    TYPE(t, type);
    CHECK(NULL, t->combiner != MPI_COMBINER_NAMED, MPI_ERR_TYPE);
    CHECK(NULL, max_integers >= t->integer_count && max_addresses >= t->address_count && max_types >= t->type_count,
          MPI_ERR_COUNT);
    mpi_copy(integers, t->integers, t->integer_count * sizeof *integers);
    mpi_copy(addresses, t->addresses, t->address_count * sizeof *addresses);
    for (int i = 0; i < t->type_count; i++)
        types[i] = t->types[i];
    return MPI_SUCCESS;
}

int MPI_Type_match_size(int kind, int size, MPI_Datatype *type)
{
    (void)kind, (void)size, (void)type;
    FAIL(NULL, MPI_ERR_UNSUPPORTED_OPERATION); /* of Fortran's type classes */
}
