/* Definitions for access.c, of the calls whose counts are COUNT. NAME makes the name. */

#define TARGET int rank, MPI_Aint offset, COUNT target_count, MPI_Datatype target_type

int NAME(MPI_Put)(const void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Win win)
{
    return move(false, (void *)data, count, type, rank, offset, target_count, target_type, win, __func__);
}

int NAME(MPI_Get)(void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Win win)
{
    return move(true, data, count, type, rank, offset, target_count, target_type, win, __func__);
}

int NAME(MPI_Accumulate)(const void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Op operation, MPI_Win win)
{
    return accumulate(data, count, type, NULL, 0, type, rank, offset, target_count, target_type, operation, win,
                      __func__);
}

int NAME(MPI_Get_accumulate)(const void *data, COUNT count, MPI_Datatype type, void *result, COUNT result_count,
                             MPI_Datatype result_type, TARGET, MPI_Op operation, MPI_Win win)
{
    return accumulate(data, count, type, result, result_count, result_type, rank, offset, target_count, target_type,
                      operation, win, __func__);
}

int NAME(MPI_Rput)(const void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Win win, MPI_Request *request)
{
    return complete(move(false, (void *)data, count, type, rank, offset, target_count, target_type, win, __func__),
                    request);
}

int NAME(MPI_Rget)(void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Win win, MPI_Request *request)
{
    return complete(move(true, data, count, type, rank, offset, target_count, target_type, win, __func__), request);
}

int NAME(MPI_Raccumulate)(const void *data, COUNT count, MPI_Datatype type, TARGET, MPI_Op operation, MPI_Win win,
                          MPI_Request *request)
{
    return complete(accumulate(data, count, type, NULL, 0, type, rank, offset, target_count, target_type, operation,
                               win, __func__),
                    request);
}

int NAME(MPI_Rget_accumulate)(const void *data, COUNT count, MPI_Datatype type, void *result, COUNT result_count,
                              MPI_Datatype result_type, TARGET, MPI_Op operation, MPI_Win win, MPI_Request *request)
{
    return complete(accumulate(data, count, type, result, result_count, result_type, rank, offset, target_count,
                               target_type, operation, win, __func__),
                    request);
}

#undef TARGET
#undef NAME
#undef COUNT
