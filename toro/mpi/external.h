/* Definitions for external.c, of the calls whose counts are COUNT and whose sizes are BYTES. NAME makes the name. */

int NAME(MPI_Pack_external)(const char form[], const void *data, COUNT count, MPI_Datatype type, void *buffer,
                            BYTES size, BYTES *position)
{
    TYPE(t, type);
    CHECK(NULL, mpi_same_text(form, FORM), MPI_ERR_ARG);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, external_size(t) * count <= (size_t)(size - *position), MPI_ERR_BUFFER);
    char *native = mpi_memory(t->size * count + 1);
    mpi_pack(data, count, t, native);
    *position += convert(t, count, native, (char *)buffer + *position, true);
    toro_release(native);
    return MPI_SUCCESS;
}

int NAME(MPI_Unpack_external)(const char form[], const void *buffer, BYTES size, BYTES *position, void *data,
                              COUNT count, MPI_Datatype type)
{
    TYPE(t, type);
    CHECK(NULL, mpi_same_text(form, FORM), MPI_ERR_ARG);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, external_size(t) * count <= (size_t)(size - *position), MPI_ERR_TRUNCATE);
    char *native = mpi_memory(t->size * count + 1);
    *position += convert(t, count, native, (char *)buffer + *position, false);
    mpi_unpack(native, t->size * count, data, count, t);
    toro_release(native);
    return MPI_SUCCESS;
}

int NAME(MPI_Pack_external_size)(const char form[], COUNT count, MPI_Datatype type, BYTES *size)
{
    TYPE(t, type);
    CHECK(NULL, mpi_same_text(form, FORM), MPI_ERR_ARG);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    *size = external_size(t) * count;
    return MPI_SUCCESS;
}

#undef NAME
#undef COUNT
#undef BYTES
