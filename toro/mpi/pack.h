/* Definitions for pack.c, of the calls whose counts are COUNT. NAME makes the name. */

int NAME(MPI_Pack)(const void *data, COUNT count, MPI_Datatype type, void *buffer, COUNT size, COUNT *position,
                   MPI_Comm comm)
{
    COMMUNICATOR(c, comm);
    struct type *t = mpi_type(type);
    CHECK(c, t, MPI_ERR_TYPE);
    CHECK(c, count >= 0, MPI_ERR_COUNT);
    CHECK(c, t->size * count <= (size_t)(size - *position), MPI_ERR_BUFFER);
    mpi_pack(data, count, t, (char *)buffer + *position);
    *position += t->size * count;
    return MPI_SUCCESS;
}

int NAME(MPI_Unpack)(const void *buffer, COUNT size, COUNT *position, void *data, COUNT count, MPI_Datatype type,
                     MPI_Comm comm)
{
    COMMUNICATOR(c, comm);
    struct type *t = mpi_type(type);
    CHECK(c, t, MPI_ERR_TYPE);
    CHECK(c, count >= 0, MPI_ERR_COUNT);
    CHECK(c, t->size * count <= (size_t)(size - *position), MPI_ERR_TRUNCATE);
    mpi_unpack((const char *)buffer + *position, t->size * count, data, count, t);
    *position += t->size * count;
    return MPI_SUCCESS;
}

int NAME(MPI_Pack_size)(COUNT count, MPI_Datatype type, MPI_Comm comm, COUNT *size)
{
    COMMUNICATOR(c, comm);
    struct type *t = mpi_type(type);
    CHECK(c, t, MPI_ERR_TYPE);
    CHECK(c, count >= 0, MPI_ERR_COUNT);
    *size = t->size * count;
    return MPI_SUCCESS;
}

#undef NAME
#undef COUNT
