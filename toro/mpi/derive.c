/* Types made of others (MPI 3.1, section 4.1.2). */
#include "internal.h"

/* A type that is being made. */
struct maker {
    struct type *type;
    int room;
    bool large; /* by a call with large counts */
    bool any, has_lower, has_upper;
    MPI_Aint upper, true_upper;
};

static void begin(struct maker *maker, int combiner, bool large)
{
    *maker = (struct maker){.type = mpi_cleared(sizeof(struct type)), .room = 16, .large = large};
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

/* What a type was made with, for MPI_Type_get_contents, in the order of the standard: a number or an offset in bytes is
 * a large count if the call had those. */
static void push(struct values *values, MPI_Count value)
{
    if (!(values->count & (values->count - 1))) { /* no room: there is for 0, 1, 2, 4... */
        MPI_Count *more = mpi_memory((2 * values->count + 1) * sizeof value);
        mpi_copy(more, values->list, values->count * sizeof value);
        toro_release(values->list);
        values->list = more;
    }
    values->list[values->count++] = value;
}

static void integer(struct maker *maker, int value)
{
    push(&maker->type->integers, value);
}

static void number(struct maker *maker, MPI_Count value)
{
    push(maker->large ? &maker->type->counts : &maker->type->integers, value);
}

static void place(struct maker *maker, MPI_Count value)
{
    push(maker->large ? &maker->type->counts : &maker->type->addresses, value);
}

#define EACH(remember, count, values)                                                                                  \
    for (MPI_Count i = 0; i < (count); i++)                                                                            \
    remember(&maker, (values)[i])

/* `old`: the types that it is made of. */
static int finish(struct maker *maker, int count, const MPI_Datatype *old, MPI_Datatype *handle)
{
    struct type *type = maker->type;
    type->extent = maker->upper - type->lower;
    type->true_extent = maker->true_upper - type->true_lower;
    type->plain = type->extent == (MPI_Aint)type->size &&
                  (!type->block_count || (type->block_count == 1 && !type->blocks[0].offset));
    if (type->kind == -2)
        type->kind = -1;
    type->type_count = count;
    type->types = mpi_memory(count * sizeof *type->types + 1);
    for (int i = 0; i < count; i++)
        mpi_hold_type(type->types[i] = mpi_type(old[i]));
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

static void resize(struct maker *maker, MPI_Aint lower, MPI_Aint extent)
{
    maker->type->lower = lower;
    maker->upper = lower + extent;
}

static void add_vector(struct maker *maker, MPI_Count count, MPI_Count length, MPI_Aint stride, MPI_Datatype old)
{
    for (MPI_Count i = 0; i < count; i++)
        add(maker, old, i * stride, length);
}

/* ---- Arrays: rows of rows, from the dimension that varies fastest ---- */

/* Ends a row with room for `size` rows `part`, which are not needed any more, unless they are the array's elements. */
static MPI_Datatype finish_row(struct maker *maker, MPI_Count size, MPI_Datatype part, MPI_Datatype elements)
{
    MPI_Datatype made;
    resize(maker, 0, size * mpi_type(part)->extent);
    finish(maker, 0, NULL, &made);
    if (part != elements)
        MPI_Type_free(&part);
    return made;
}

static void begin_array(struct maker *maker, int combiner, bool large, MPI_Datatype rows)
{
    begin(maker, combiner, large);
    add(maker, rows, 0, 1);
    MPI_Type_free(&rows);
}

/* Adds what one rank has of a dimension. */
static void distribute(struct maker *maker, MPI_Datatype part, MPI_Count size, int distribution, int argument,
                       int ranks, int rank)
{
    MPI_Count block = argument, stride = mpi_type(part)->extent;
    if (distribution == MPI_DISTRIBUTE_NONE)
        block = size;
    else if (argument == MPI_DISTRIBUTE_DFLT_DARG)
        block = distribution == MPI_DISTRIBUTE_BLOCK ? (size + ranks - 1) / ranks : 1;
    for (MPI_Count i = block * rank; i < size; i += block * ranks)
        add(maker, part, i * stride, size - i < block ? size - i : block);
}

/* A rank's place in one dimension of a grid. */
static int coordinate(int rank, int dimensions, const int *grid, int at)
{
    while (--dimensions > at)
        rank /= grid[dimensions];
    return rank % grid[at];
}

/* ---- The calls ---- */

#define NAME(name) name
#define COUNT int
#define BYTES MPI_Aint
#define LARGE false
#include "derive.h"

#define NAME(name) name##_c
#define COUNT MPI_Count
#define BYTES MPI_Count
#define LARGE true
#include "derive.h"

int MPI_Type_hvector(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type)
{
    return MPI_Type_create_hvector(count, length, stride, old, type);
}

int MPI_Type_hindexed(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype *type)
{
    return MPI_Type_create_hindexed(count, lengths, offsets, old, type);
}

int MPI_Type_struct(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype types[], MPI_Datatype *type)
{
    return MPI_Type_create_struct(count, lengths, offsets, types, type);
}

int MPI_Type_dup(MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    begin(&maker, MPI_COMBINER_DUP, false);
    add(&maker, old, 0, 1);
    resize(&maker, t->lower, t->extent);
    finish(&maker, 1, &old, type);
    int result = mpi_copy_attributes(old, t->attributes, &maker.type->attributes);
    if (result != MPI_SUCCESS)
        MPI_Type_free(type);
    CHECK(NULL, result == MPI_SUCCESS, result);
    return MPI_SUCCESS;
}

/* ---- How a type was made ---- */

int MPI_Type_get_envelope_c(MPI_Datatype type, MPI_Count *integers, MPI_Count *addresses, MPI_Count *counts,
                            MPI_Count *types, int *combiner)
{
    TYPE(t, type);
    *integers = t->integers.count;
    *addresses = t->addresses.count;
    *counts = t->counts.count;
    *types = t->type_count;
    *combiner = t->combiner;
    return MPI_SUCCESS;
}

int MPI_Type_get_envelope(MPI_Datatype type, int *integers, int *addresses, int *types, int *combiner)
{
    TYPE(t, type);
    CHECK(NULL, !t->counts.count, MPI_ERR_TYPE);
    *integers = t->integers.count;
    *addresses = t->addresses.count;
    *types = t->type_count;
    *combiner = t->combiner;
    return MPI_SUCCESS;
}

/* The program frees it, unless it is predefined. */
static MPI_Datatype new_handle(struct type *type)
{
    if (type->predefined)
        return type->kind;
    mpi_hold_type(type);
    return mpi_add_type(type);
}

static int contents_of(struct type *t, MPI_Count max_integers, MPI_Count max_addresses, MPI_Count max_counts,
                       MPI_Count max_types, int integers[], MPI_Aint addresses[], MPI_Count counts[],
                       MPI_Datatype types[])
{
    if (t->combiner == MPI_COMBINER_NAMED)
        return MPI_ERR_TYPE;
    if (max_integers < t->integers.count || max_addresses < t->addresses.count || max_counts < t->counts.count ||
        max_types < t->type_count)
        return MPI_ERR_COUNT;
    for (MPI_Count i = 0; i < t->integers.count; i++)
        integers[i] = t->integers.list[i];
    for (MPI_Count i = 0; i < t->addresses.count; i++)
        addresses[i] = t->addresses.list[i];
    mpi_copy(counts, t->counts.list, t->counts.count * sizeof *counts);
    for (int i = 0; i < t->type_count; i++)
        types[i] = new_handle(t->types[i]);
    return MPI_SUCCESS;
}

int MPI_Type_get_contents_c(MPI_Datatype type, MPI_Count max_integers, MPI_Count max_addresses, MPI_Count max_counts,
                            MPI_Count max_types, int integers[], MPI_Aint addresses[], MPI_Count counts[],
                            MPI_Datatype types[])
{
    TYPE(t, type);
    int result = contents_of(t, max_integers, max_addresses, max_counts, max_types, integers, addresses, counts, types);
    CHECK(NULL, !result, result);
    return MPI_SUCCESS;
}

int MPI_Type_get_contents(MPI_Datatype type, int max_integers, int max_addresses, int max_types, int integers[],
                          MPI_Aint addresses[], MPI_Datatype types[])
{
    TYPE(t, type);
    CHECK(NULL, !t->counts.count, MPI_ERR_TYPE);
    int result = contents_of(t, max_integers, max_addresses, 0, max_types, integers, addresses, NULL, types);
    CHECK(NULL, !result, result);
    return MPI_SUCCESS;
}

int MPI_Type_match_size(int kind, int size, MPI_Datatype *type)
{
    (void)kind, (void)size, (void)type;
    FAIL(NULL, MPI_ERR_UNSUPPORTED_OPERATION); /* of Fortran's type classes */
}
