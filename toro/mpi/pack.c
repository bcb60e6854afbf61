/* MPI_Pack and MPI_Unpack: packed data are the elements one behind the other. */
#include "internal.h"

int MPI_Pack(const void *data, int count, MPI_Datatype type, void *buffer, int size, int *position, MPI_Comm comm)
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

int MPI_Unpack(const void *buffer, int size, int *position, void *data, int count, MPI_Datatype type, MPI_Comm comm)
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

int MPI_Pack_size(int count, MPI_Datatype type, MPI_Comm comm, int *size)
{
    COMMUNICATOR(c, comm);
    struct type *t = mpi_type(type);
    CHECK(c, t, MPI_ERR_TYPE);
    CHECK(c, count >= 0, MPI_ERR_COUNT);
    *size = t->size * count;
    return MPI_SUCCESS;
}
