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
        mpi_barrier(comm->local);
        if (comm->rank == 0)
            mpi_exchange(NULL, 0, MPI_BYTE, 0, NULL, 0, MPI_BYTE, 0, c->tag, comm);
        return mpi_barrier(comm->local);
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
        int other = mpi_bcast(c->receive, c->receive_count, c->receive_type, 0, comm->local);
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

/* The place of a rank's part. */
static void *part(const void *data, int rank, int count, const int *offsets, MPI_Datatype type)
{
    return mpi_at(data, offsets ? offsets[rank] : (MPI_Aint)rank * count, type);
}

static int part_count(int rank, int count, const int *counts)
{
    return counts ? counts[rank] : count;
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
        void *to = part(c->receive, rank, c->receive_count, c->receive_offsets, c->receive_type);
        int count = part_count(rank, c->receive_count, c->receive_counts);
        if (rank != comm->rank || is_inter(c))
            mpi_ireceive(&requests[started++], to, count, c->receive_type, rank, c->tag, comm);
        else if (c->send != MPI_IN_PLACE)
            result = mpi_copy_typed(c->send, c->send_count, c->send_type, to, count, c->receive_type);
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
        void *from = part(c->send, rank, c->send_count, c->send_offsets, c->send_type);
        int count = part_count(rank, c->send_count, c->send_counts);
        if (rank != comm->rank || is_inter(c))
            mpi_isend(&requests[started++], from, count, c->send_type, rank, c->tag, comm);
        else if (c->receive != MPI_IN_PLACE)
            result = mpi_copy_typed(from, count, c->send_type, c->receive, c->receive_count, c->receive_type);
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
    const void *send = c->send;
    int send_count = c->send_count;
    MPI_Datatype send_type = c->send_type;
    if (send == MPI_IN_PLACE) {
        send = part(c->receive, me, c->receive_count, c->receive_offsets, c->receive_type);
        send_count = part_count(me, c->receive_count, c->receive_counts);
        send_type = c->receive_type;
    }
    for (int i = 0; i < n; i++) {
        int rank = is_inter(c) ? i : (me + i) % n;
        if (rank != me || is_inter(c))
            mpi_isend(&requests[started++], send, send_count, send_type, rank, c->tag, comm);
    }
    for (int i = 0; i < n; i++) {
        int rank = is_inter(c) ? i : (me - i + n) % n, error = MPI_SUCCESS;
        void *to = part(c->receive, rank, c->receive_count, c->receive_offsets, c->receive_type);
        int count = part_count(rank, c->receive_count, c->receive_counts);
        if (rank != me || is_inter(c))
            error = mpi_receive(to, count, c->receive_type, rank, c->tag, comm);
        else if (to != send)
            error = mpi_copy_typed(send, send_count, send_type, to, count, c->receive_type);
        result = result ? result : error;
    }
    int other = mpi_wait_for(requests, started);
    if (n > FEW)
        toro_release(requests);
    return result ? result : other;
}

/* What a rank sends to another one or receives from it. Offsets of MPI_Alltoallw are bytes. */
struct share {
    void *data;
    int count;
    MPI_Datatype type;
};

static struct share share(const void *data, int rank, int count, const int *counts, const int *offsets,
                          MPI_Datatype type, const MPI_Datatype *types)
{
    if (types)
        return (struct share){(char *)data + offsets[rank], part_count(rank, count, counts), types[rank]};
    return (struct share){part(data, rank, count, offsets, type), part_count(rank, count, counts), type};
}

static struct share incoming(const struct collective *c, int rank)
{
    return share(c->receive, rank, c->receive_count, c->receive_counts, c->receive_offsets, c->receive_type,
                 c->receive_types);
}

static struct share outgoing(const struct collective *c, int rank)
{
    return share(c->send, rank, c->send_count, c->send_counts, c->send_offsets, c->send_type, c->send_types);
}

/* In place, what is to be sent is overwritten by what comes. */
static struct share *copies_of(const struct collective *c, int n)
{
    struct share *copies = mpi_memory(n * sizeof *copies);
    for (int i = 0; i < n; i++) {
        struct share in = incoming(c, i);
        int bytes = mpi_type(in.type)->size * in.count;
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
        struct share out = copies ? copies[rank] : outgoing(c, rank);
        if (rank != me)
            mpi_isend(&requests[started++], out.data, out.count, out.type, rank, c->tag, comm);
    }
    for (int i = 0; i < n; i++) {
        int rank = (comm->rank + n - i) % n, error = MPI_SUCCESS;
        struct share in = incoming(c, rank);
        if (rank != me)
            error = mpi_receive(in.data, in.count, in.type, rank, c->tag, comm);
        else if (!copies) {
            struct share out = outgoing(c, rank);
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
