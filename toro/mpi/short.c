/* The way of short collective operations, whose messages are of one line: the same messages as in
 * spread.c and reduce.c, but nothing is described for others to do, and no request is made. */
#include "line.h"

#define FEW 8 /* ranks */

/* A communicator within which operations may go this way; null: none. */
static struct communicator *group_of(MPI_Comm handle)
{
    struct communicator *comm = mpi_comm(handle);
    return comm && !comm->local ? comm : NULL;
}

/* Whether elements fit into a line. */
static bool are_short(const void *data, MPI_Count count, const struct type *type)
{
    return data && type && type->plain && count >= 0 && count <= LINE_DATA && type->size * count <= LINE_DATA;
}

static int send(const void *data, size_t bytes, int to, int tag, struct communicator *comm)
{
    if (mpi_send_line(data, bytes, to, tag, comm->context + 1, comm))
        return MPI_SUCCESS;
    return mpi_send(data, bytes, MPI_BYTE, to, tag, comm);
}

static int receive(void *data, size_t bytes, int from, int tag, struct communicator *comm)
{
    if (mpi_receive_line(data, bytes, from, tag, comm->context + 1, comm, NULL))
        return MPI_SUCCESS;
    return mpi_receive(data, bytes, MPI_BYTE, from, tag, comm);
}

int mpi_short_barrier(MPI_Comm handle)
{
    struct communicator *comm = group_of(handle);
    if (!comm)
        return NOT_SHORT;
    int tag = mpi_next_tag(comm), size = comm->size, me = comm->rank;
    for (int distance = 1; distance < size; distance *= 2) {
        int to = me + distance, from = me - distance;
        send(NULL, 0, to < size ? to : to - size, tag, comm);
        receive(NULL, 0, from < 0 ? from + size : from, tag, comm);
    }
    return MPI_SUCCESS;
}

/* Whether ranks may combine elements in any order. What MPI has predefined stays so, and is looked up once in a row. */
static bool combines(MPI_Op operation, MPI_Datatype type)
{
    static MPI_Op last_operation;
    static MPI_Datatype last_type;
    static bool known;
    if (known && operation == last_operation && type == last_type)
        return true;
    bool result = mpi_can_combine(operation, type) && mpi_commutes(operation);
    if (result && operation <= MPI_NO_OP && mpi_type(type)->predefined) {
        known = true;
        last_operation = operation;
        last_type = type;
    }
    return result;
}

int mpi_short_allreduce(const void *data, void *target, MPI_Count count, MPI_Datatype type, MPI_Op operation,
                        MPI_Comm handle)
{
    struct communicator *comm = group_of(handle);
    const struct type *t = mpi_type(type);
    _Alignas(16) char other[LINE_DATA];
    int result = MPI_SUCCESS;

    if (!comm || comm->size & (comm->size - 1) || !are_short(target, count, t) || !data || !combines(operation, type))
        return NOT_SHORT;
    size_t bytes = t->size * count;
    int tag = mpi_next_tag(comm);
    if (data == MPI_IN_PLACE)
        data = target;
    for (int bit = 1; bit < comm->size && !result; bit *= 2) {
        send(data, bytes, comm->rank ^ bit, tag, comm);
        if (data != target)
            mpi_copy_short(target, data, bytes);
        data = target;
        result = receive(other, bytes, comm->rank ^ bit, tag, comm);
        mpi_combine(other, target, count, type, operation);
    }
    if (data != target) /* alone */
        mpi_copy_short(target, data, bytes);
    return result ? mpi_fail(comm, "MPI_Allreduce", result) : MPI_SUCCESS;
}

int mpi_short_alltoall(const void *data, MPI_Count count, MPI_Datatype type, void *target, MPI_Count target_count,
                       MPI_Datatype target_type, MPI_Comm handle)
{
    struct communicator *comm = group_of(handle);
    const struct type *t = mpi_type(type), *target_t = mpi_type(target_type);
    int result = MPI_SUCCESS;

    if (!comm || comm->size > FEW || data == MPI_IN_PLACE || !are_short(data, count, t) ||
        !are_short(target, target_count, target_t))
        return NOT_SHORT;
    size_t bytes = t->size * count;
    if (bytes != target_t->size * target_count)
        return NOT_SHORT;
    int tag = mpi_next_tag(comm), size = comm->size, me = comm->rank;
    for (int i = 1; i < size; i++) {
        int to = me + i < size ? me + i : me + i - size;
        send((const char *)data + to * bytes, bytes, to, tag, comm);
    }
    mpi_copy_short((char *)target + me * bytes, (const char *)data + me * bytes, bytes);
    for (int i = 1; i < size; i++) {
        int from = me - i < 0 ? me - i + size : me - i;
        int error = receive((char *)target + from * bytes, bytes, from, tag, comm);
        result = result ? result : error;
    }
    return result ? mpi_fail(comm, "MPI_Alltoall", result) : MPI_SUCCESS;
}
