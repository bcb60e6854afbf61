/* Collective operations of neighbours (MPI 3.1, section 7.6). */
#include "topology.h"

/* Neighbours that send to this rank, or that it sends to: in a Cartesian topology down and up, in each dimension. */
static int neighbour_count(const struct communicator *c, bool send)
{
    const struct topology *t = c->topology;
    if (t->kind == MPI_CART)
        return 2 * t->dimensions;
    if (t->kind == MPI_DIST_GRAPH)
        return send ? t->sources.count : t->destinations.count;
    return t->index[c->rank] - (c->rank ? t->index[c->rank - 1] : 0);
}

static int neighbour_at(const struct communicator *c, bool send, int index)
{
    const struct topology *t = c->topology;
    if (t->kind == MPI_CART)
        return mpi_cart_neighbour(t, index / 2, index % 2 ? 1 : -1);
    if (t->kind == MPI_DIST_GRAPH)
        return send ? t->sources.ranks[index] : t->destinations.ranks[index];
    return t->edges[(c->rank ? t->index[c->rank - 1] : 0) + index];
}

static int among_neighbours(struct collective *c, bool one_part)
{
    struct communicator *comm = c->comm;
    if (!comm->topology)
        return MPI_ERR_TOPOLOGY;
    int in = neighbour_count(comm, true), out = neighbour_count(comm, false), started = 0;
    bool cart = comm->topology->kind == MPI_CART;
    struct mpi_request *requests = mpi_memory((in + out + 1) * sizeof *requests);
    /* The same rank may be the neighbour on both sides: what goes up comes from below. */
    for (int i = 0; i < in; i++) {
        struct share part = mpi_incoming(c, i);
        int peer = neighbour_at(comm, true, i);
        if (peer != MPI_PROC_NULL)
            mpi_ireceive(&requests[started++], part.data, part.count, part.type, peer,
                         1 << 30 | (c->tag & 0xfffff) << 8 | (cart ? i ^ 1 : 0), comm);
    }
    for (int i = 0; i < out; i++) {
        struct share part = one_part ? (struct share){(void *)c->send, c->send_count, c->send_type} : mpi_outgoing(c, i);
        int peer = neighbour_at(comm, false, i);
        if (peer != MPI_PROC_NULL)
            mpi_isend(&requests[started++], part.data, part.count, part.type, peer,
                      1 << 30 | (c->tag & 0xfffff) << 8 | (cart ? i : 0), comm);
    }
    int result = mpi_wait_for(requests, started);
    toro_release(requests);
    return result;
}

int mpi_run_neighbor_allgather(struct collective *c)
{
    return among_neighbours(c, true);
}

int mpi_run_neighbor_alltoall(struct collective *c)
{
    return among_neighbours(c, false);
}
