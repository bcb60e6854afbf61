/* Topologies. They never change, and duplicates of a communicator share one. */
#ifndef MPI_TOPOLOGY_H
#define MPI_TOPOLOGY_H

#include "internal.h"

struct edges {
    int count, *ranks, *weights;
};

struct topology {
    int kind, references;
    int dimensions, *sizes, *periodic, *coordinates; /* MPI_CART */
    int nodes, edge_count, *index, *edges;           /* MPI_GRAPH */
    bool weighted;                                   /* MPI_DIST_GRAPH */
    struct edges sources, destinations;              /* the same */
    int numbers[];                                   /* that these point to */
};

struct topology *mpi_new_topology(int kind, int numbers);
/* A communicator of the first `count` ranks; null in the others. */
struct communicator *mpi_first_ranks(struct communicator *c, int count);
int mpi_cart_neighbour(const struct topology *t, int dimension, int distance);

/* Declares the communicator as c, and `name` as its topology. */
#define TOPOLOGY(name, comm, what)                                                                                     \
    COMMUNICATOR(c, comm);                                                                                             \
    struct topology *name = c->topology;                                                                               \
    CHECK(c, name && name->kind == (what), MPI_ERR_TOPOLOGY)

#endif
