/* Definitions for derive.c, of the calls whose counts are COUNT and whose offsets in bytes are BYTES. NAME makes the
 * name, and LARGE tells which they are. */

int NAME(MPI_Type_contiguous)(COUNT count, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    begin(&maker, MPI_COMBINER_CONTIGUOUS, LARGE);
    add(&maker, old, 0, count);
    number(&maker, count);
    return finish(&maker, 1, &old, type);
}

int NAME(MPI_Type_vector)(COUNT count, COUNT length, COUNT stride, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, length >= 0, MPI_ERR_ARG);
    begin(&maker, MPI_COMBINER_VECTOR, LARGE);
    add_vector(&maker, count, length, stride * t->extent, old);
    number(&maker, count);
    number(&maker, length);
    number(&maker, stride);
    return finish(&maker, 1, &old, type);
}

int NAME(MPI_Type_create_hvector)(COUNT count, COUNT length, BYTES stride, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, length >= 0, MPI_ERR_ARG);
    begin(&maker, MPI_COMBINER_HVECTOR, LARGE);
    add_vector(&maker, count, length, stride, old);
    number(&maker, count);
    number(&maker, length);
    place(&maker, stride);
    return finish(&maker, 1, &old, type);
}

/* All of the indexed ones: `lengths` or one length for all; offsets in elements or in bytes. */
static int NAME(make_indexed)(int combiner, const char *call, COUNT count, const COUNT *lengths, COUNT length,
                              const COUNT *offsets, const BYTES *places, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    struct type *t = mpi_type(old);
    if (!t)
        return mpi_fail(NULL, call, MPI_ERR_TYPE);
    if (count < 0)
        return mpi_fail(NULL, call, MPI_ERR_COUNT);
    begin(&maker, combiner, LARGE);
    number(&maker, count);
    if (lengths)
        EACH(number, count, lengths);
    else
        number(&maker, length);
    if (offsets)
        EACH(number, count, offsets);
    else
        EACH(place, count, places);
    for (COUNT i = 0; i < count; i++)
        add(&maker, old, offsets ? offsets[i] * t->extent : places[i], lengths ? lengths[i] : length);
    return finish(&maker, 1, &old, type);
}

static const COUNT NAME(none);

int NAME(MPI_Type_indexed)(COUNT count, const COUNT lengths[], const COUNT offsets[], MPI_Datatype old,
                           MPI_Datatype *type)
{
    return NAME(make_indexed)(MPI_COMBINER_INDEXED, __func__, count, lengths ? lengths : &NAME(none), 0,
                              offsets ? offsets : &NAME(none), NULL, old, type);
}

int NAME(MPI_Type_create_hindexed)(COUNT count, const COUNT lengths[], const BYTES offsets[], MPI_Datatype old,
                                   MPI_Datatype *type)
{
    return NAME(make_indexed)(MPI_COMBINER_HINDEXED, __func__, count, lengths ? lengths : &NAME(none), 0, NULL, offsets,
                              old, type);
}

int NAME(MPI_Type_create_indexed_block)(COUNT count, COUNT length, const COUNT offsets[], MPI_Datatype old,
                                        MPI_Datatype *type)
{
    return NAME(make_indexed)(MPI_COMBINER_INDEXED_BLOCK, __func__, count, NULL, length,
                              offsets ? offsets : &NAME(none), NULL, old, type);
}

int NAME(MPI_Type_create_hindexed_block)(COUNT count, COUNT length, const BYTES offsets[], MPI_Datatype old,
                                         MPI_Datatype *type)
{
    return NAME(make_indexed)(MPI_COMBINER_HINDEXED_BLOCK, __func__, count, NULL, length, NULL, offsets, old, type);
}

int NAME(MPI_Type_create_struct)(COUNT count, const COUNT lengths[], const BYTES offsets[], const MPI_Datatype types[],
                                 MPI_Datatype *type)
{
    struct maker maker;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    for (COUNT i = 0; i < count; i++)
        CHECK(NULL, mpi_type(types[i]), MPI_ERR_TYPE);
    begin(&maker, MPI_COMBINER_STRUCT, LARGE);
    number(&maker, count);
    EACH(number, count, lengths);
    EACH(place, count, offsets);
    for (COUNT i = 0; i < count; i++)
        add(&maker, types[i], offsets[i], lengths[i]);
    align(&maker);
    return finish(&maker, count, types, type);
}

int NAME(MPI_Type_create_resized)(MPI_Datatype old, BYTES lower, BYTES extent, MPI_Datatype *type)
{
    struct maker maker;
    TYPE(t, old);
    (void)t;
    begin(&maker, MPI_COMBINER_RESIZED, LARGE);
    add(&maker, old, 0, 1);
    resize(&maker, lower, extent);
    place(&maker, lower);
    place(&maker, extent);
    return finish(&maker, 1, &old, type);
}

int NAME(MPI_Type_create_subarray)(int dimensions, const COUNT sizes[], const COUNT parts[], const COUNT starts[],
                                   int order, MPI_Datatype old, MPI_Datatype *type)
{
    struct maker maker;
    MPI_Datatype now = old;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, dimensions > 0, MPI_ERR_ARG);
    CHECK(NULL, order == MPI_ORDER_C || order == MPI_ORDER_FORTRAN, MPI_ERR_ARG);
    for (int i = 0; i < dimensions; i++)
        CHECK(NULL, sizes[i] > 0 && parts[i] > 0 && starts[i] >= 0 && starts[i] <= sizes[i] - parts[i], MPI_ERR_ARG);
    for (int i = 0; i < dimensions; i++) {
        int at = order == MPI_ORDER_C ? dimensions - 1 - i : i;
        begin(&maker, 0, LARGE);
        add(&maker, now, starts[at] * mpi_type(now)->extent, parts[at]);
        now = finish_row(&maker, sizes[at], now, old);
    }
    begin_array(&maker, MPI_COMBINER_SUBARRAY, LARGE, now);
    integer(&maker, dimensions);
    EACH(number, dimensions, sizes);
    EACH(number, dimensions, parts);
    EACH(number, dimensions, starts);
    integer(&maker, order);
    return finish(&maker, 1, &old, type);
}

int NAME(MPI_Type_create_darray)(int size, int rank, int dimensions, const COUNT sizes[], const int distributions[],
                                 const int arguments[], const int grid[], int order, MPI_Datatype old,
                                 MPI_Datatype *type)
{
    struct maker maker;
    MPI_Datatype now = old;
    TYPE(t, old);
    (void)t;
    CHECK(NULL, dimensions > 0 && rank >= 0 && rank < size, MPI_ERR_ARG);
    for (int i = 0; i < dimensions; i++) {
        int at = order == MPI_ORDER_C ? dimensions - 1 - i : i;
        begin(&maker, 0, LARGE);
        distribute(&maker, now, sizes[at], distributions[at], arguments[at], grid[at],
                   coordinate(rank, dimensions, grid, at));
        now = finish_row(&maker, sizes[at], now, old);
    }
    begin_array(&maker, MPI_COMBINER_DARRAY, LARGE, now);
    integer(&maker, size);
    integer(&maker, rank);
    integer(&maker, dimensions);
    EACH(number, dimensions, sizes);
    EACH(integer, dimensions, distributions);
    EACH(integer, dimensions, arguments);
    EACH(integer, dimensions, grid);
    integer(&maker, order);
    return finish(&maker, 1, &old, type);
}

#undef NAME
#undef COUNT
#undef BYTES
#undef LARGE
