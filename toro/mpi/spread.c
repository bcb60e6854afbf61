/* Barrier, broadcast, gather and scatter, and all-to-all: how they run.
 *
 * The data of a rank go from its memory to that of another by one copy, and ranks copy at the same
 * time. So each sends to all others directly, except in a broadcast, which follows a binomial tree,
 * and in a barrier. Between the groups of an intercommunicator it is the same: the others are then
 * the ranks of the other group. */
#include "internal.h"

#define FEW 8 /* ranks, for which the stack has room */

static bool is_inter(const struct collective *c)
{
    return c->comm->local != NULL;
}

/* Whether this rank is the root, or sends to it (or receives from it); a rank of the root's group
 * does nothing. */
static bool is_root(const struct collective *c)
{
    return is_inter(c) ? c->root == MPI_ROOT : c->root == c->comm->rank;
}

static bool is_idle(const struct collective *c)
{
    return is_inter(c) && c->root == MPI_PROC_NULL;
}

/* ---- Barrier ----
 *
 * The dissemination algorithm: in round k each rank tells the rank 2^k behind it, modulo their
 * number, and hears of the rank 2^k before it. After log2 n rounds each has heard, directly or not,
 * of all others. */
int mpi_run_barrier(struct collective *c)
{
    struct communicator *comm = c->comm;
    if (is_inter(c)) {
        struct collective within = {.comm = comm->local, .tag = c->tag};
        mpi_run_barrier(&within);
        if (comm->rank == 0)
            mpi_exchange(NULL, 0, MPI_BYTE, 0, NULL, 0, MPI_BYTE, 0, c->tag, comm);
        return mpi_run_barrier(&within);
    }
    for (int distance = 1; distance < comm->size; distance *= 2)
        mpi_exchange(NULL, 0, MPI_BYTE, (comm->rank + distance) % comm->size, NULL, 0, MPI_BYTE,
                     (comm->rank - distance + comm->size) % comm->size, c->tag, comm);
    return MPI_SUCCESS;
}

/* ---- Broadcast ----
 *
 * Ranks are numbered from the root; the parent of a rank is its number without the lowest set bit. */
int mpi_run_bcast(struct collective *c)
{
    struct communicator *comm = c->comm;
    int result = MPI_SUCCESS, bit = 1;
    if (is_inter(c)) {
        if (is_idle(c))
            return MPI_SUCCESS;
        if (is_root(c))
            return mpi_send(c->receive, c->receive_count, c->receive_type, 0, c->tag, comm);
        if (comm->rank == 0)
            result = mpi_receive(c->receive, c->receive_count, c->receive_type, c->root, c->tag, comm);
        struct collective within = *c;
        within.comm = comm->local;
        within.root = 0;
        int other = mpi_run_bcast(&within);
        return result ? result : other;
    }
    int me = (comm->rank - c->root + comm->size) % comm->size;
    while (bit < comm->size && !(me & bit))
        bit *= 2;
    if (me)
        result = mpi_receive(c->receive, c->receive_count, c->receive_type, (me - bit + c->root) % comm->size, c->tag,
                             comm);
    struct mpi_request requests[8];
    int count = 0;
    while (bit > 1) {
        bit /= 2;
        if (me + bit < comm->size)
            mpi_isend(&requests[count++], c->receive, c->receive_count, c->receive_type,
                      (me + bit + c->root) % comm->size, c->tag, comm);
    }
    mpi_wait_for(requests, count);
    return result;
}

/* ---- Parts for all, or from all ---- */

struct share mpi_outgoing(const struct collective *c, int index)
{
    MPI_Datatype type = c->send_types ? c->send_types[index] : c->send_type;
    MPI_Count count = c->send_counts ? mpi_number(c->send_counts, index, c->large_counts) : c->send_count;
    MPI_Aint at = c->send_offsets ? mpi_number(c->send_offsets, index, c->large_offsets) : index * count;
    return (struct share){c->send_types ? (char *)c->send + at : mpi_at(c->send, at, type), count, type};
}

struct share mpi_incoming(const struct collective *c, int index)
{
    MPI_Datatype type = c->receive_types ? c->receive_types[index] : c->receive_type;
    MPI_Count count = c->receive_counts ? mpi_number(c->receive_counts, index, c->large_counts) : c->receive_count;
    MPI_Aint at = c->receive_offsets ? mpi_number(c->receive_offsets, index, c->large_offsets) : index * count;
    return (struct share){c->receive_types ? (char *)c->receive + at : mpi_at(c->receive, at, type), count, type};
}

int mpi_run_gather(struct collective *c)
{
    struct communicator *comm = c->comm;
    int n = comm->remote_size, started = 0, result = MPI_SUCCESS;
    if (is_idle(c))
        return MPI_SUCCESS;
    if (!is_root(c))
        return mpi_send(c->send, c->send_count, c->send_type, c->root, c->tag, comm);
    struct mpi_request *requests = mpi_memory(n * sizeof *requests);
    for (int rank = 0; rank < n; rank++) {
        struct share in = mpi_incoming(c, rank);
        if (rank != comm->rank || is_inter(c))
            mpi_ireceive(&requests[started++], in.data, in.count, in.type, rank, c->tag, comm);
        else if (c->send != MPI_IN_PLACE)
            result = mpi_copy_typed(c->send, c->send_count, c->send_type, in.data, in.count, in.type);
    }
    int other = mpi_wait_for(requests, started);
    toro_release(requests);
    return result ? result : other;
}

int mpi_run_scatter(struct collective *c)
{
    struct communicator *comm = c->comm;
    int n = comm->remote_size, started = 0, result = MPI_SUCCESS;
    if (is_idle(c))
        return MPI_SUCCESS;
    if (!is_root(c))
        return mpi_receive(c->receive, c->receive_count, c->receive_type, c->root, c->tag, comm);
    struct mpi_request *requests = mpi_memory(n * sizeof *requests);
    for (int rank = 0; rank < n; rank++) {
        struct share out = mpi_outgoing(c, rank);
        if (rank != comm->rank || is_inter(c))
            mpi_isend(&requests[started++], out.data, out.count, out.type, rank, c->tag, comm);
        else if (c->receive != MPI_IN_PLACE)
            result = mpi_copy_typed(out.data, out.count, out.type, c->receive, c->receive_count, c->receive_type);
    }
    int other = mpi_wait_for(requests, started);
    toro_release(requests);
    return result ? result : other;
}

int mpi_run_allgather(struct collective *c)
{
    struct communicator *comm = c->comm;
    int n = comm->remote_size, started = 0, result = MPI_SUCCESS, me = comm->rank;
    struct mpi_request few[FEW], *requests = n > FEW ? mpi_memory(n * sizeof *requests) : few;
    struct share out = {(void *)c->send, c->send_count, c->send_type};
    if (c->send == MPI_IN_PLACE)
        out = mpi_incoming(c, me);
    for (int i = 0; i < n; i++) {
        int rank = is_inter(c) ? i : (me + i) % n;
        if (rank != me || is_inter(c))
            mpi_isend(&requests[started++], out.data, out.count, out.type, rank, c->tag, comm);
    }
    for (int i = 0; i < n; i++) {
        int rank = is_inter(c) ? i : (me - i + n) % n, error = MPI_SUCCESS;
        struct share in = mpi_incoming(c, rank);
        if (rank != me || is_inter(c))
            error = mpi_receive(in.data, in.count, in.type, rank, c->tag, comm);
        else if (in.data != out.data)
            error = mpi_copy_typed(out.data, out.count, out.type, in.data, in.count, in.type);
        result = result ? result : error;
    }
    int other = mpi_wait_for(requests, started);
    if (n > FEW)
        toro_release(requests);
    return result ? result : other;
}

/* In place, what is to be sent is overwritten by what comes. */
static struct share *copies_of(const struct collective *c, int n)
{
    struct share *copies = mpi_memory(n * sizeof *copies);
    for (int i = 0; i < n; i++) {
        struct share in = mpi_incoming(c, i);
        size_t bytes = mpi_type(in.type)->size * in.count;
        copies[i] = (struct share){mpi_memory(bytes + 1), bytes, MPI_BYTE};
        mpi_pack(in.data, in.count, mpi_type(in.type), copies[i].data);
    }
    return copies;
}

int mpi_run_alltoall(struct collective *c)
{
    struct communicator *comm = c->comm;
    int n = comm->remote_size, started = 0, result = MPI_SUCCESS, me = is_inter(c) ? -1 : comm->rank;
    struct mpi_request few[FEW], *requests = n > FEW ? mpi_memory(n * sizeof *requests) : few;
    struct share *copies = c->send == MPI_IN_PLACE ? copies_of(c, n) : NULL;

    for (int i = 0; i < n; i++) {
        int rank = (comm->rank + i) % n;
        struct share out = copies ? copies[rank] : mpi_outgoing(c, rank);
        if (rank != me)
            mpi_isend(&requests[started++], out.data, out.count, out.type, rank, c->tag, comm);
    }
    for (int i = 0; i < n; i++) {
        int rank = (comm->rank + n - i) % n, error = MPI_SUCCESS;
        struct share in = mpi_incoming(c, rank);
        if (rank != me)
            error = mpi_receive(in.data, in.count, in.type, rank, c->tag, comm);
        else if (!copies) {
            struct share out = mpi_outgoing(c, rank);
            error = mpi_copy_typed(out.data, out.count, out.type, in.data, in.count, in.type);
        }
        result = result ? result : error;
    }
    int other = mpi_wait_for(requests, started);
    for (int i = 0; copies && i < n; i++)
        toro_release(copies[i].data);
    if (copies)
        toro_release(copies);
    if (n > FEW)
        toro_release(requests);
    return result ? result : other;
}
