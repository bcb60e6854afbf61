/* Graphs: index[i] is the number of edges of the nodes up to i (MPI 3.1, section 7.5.3). */
#include "topology.h"

int MPI_Graph_create(MPI_Comm comm, int nodes, const int index[], const int edges[], int reorder, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    (void)reorder;
    CHECK(c, nodes >= 0 && nodes <= c->size, MPI_ERR_ARG);
    struct communicator *graph = mpi_first_ranks(c, nodes);
    *made = MPI_COMM_NULL;
    if (!graph)
        return MPI_SUCCESS;
    struct topology *t = graph->topology = mpi_new_topology(MPI_GRAPH, nodes + index[nodes - 1]);
    t->nodes = nodes;
    t->edge_count = index[nodes - 1];
    t->index = t->numbers;
    t->edges = t->index + nodes;
    mpi_copy(t->index, index, nodes * sizeof(int));
    mpi_copy(t->edges, edges, t->edge_count * sizeof(int));
    *made = graph->handle;
    return MPI_SUCCESS;
}

int MPI_Graphdims_get(MPI_Comm comm, int *nodes, int *edges)
{
    TOPOLOGY(t, comm, MPI_GRAPH);
    *nodes = t->nodes;
    *edges = t->edge_count;
    return MPI_SUCCESS;
}

int MPI_Graph_get(MPI_Comm comm, int max_index, int max_edges, int index[], int edges[])
{
    TOPOLOGY(t, comm, MPI_GRAPH);
    for (int i = 0; i < t->nodes && i < max_index; i++)
        index[i] = t->index[i];
    for (int i = 0; i < t->edge_count && i < max_edges; i++)
        edges[i] = t->edges[i];
    return MPI_SUCCESS;
}

int MPI_Graph_neighbors_count(MPI_Comm comm, int rank, int *count)
{
    TOPOLOGY(t, comm, MPI_GRAPH);
    CHECK(c, rank >= 0 && rank < c->size, MPI_ERR_RANK);
    *count = t->index[rank] - (rank ? t->index[rank - 1] : 0);
    return MPI_SUCCESS;
}

int MPI_Graph_neighbors(MPI_Comm comm, int rank, int max, int neighbors[])
{
    TOPOLOGY(t, comm, MPI_GRAPH);
    CHECK(c, rank >= 0 && rank < c->size, MPI_ERR_RANK);
    int first = rank ? t->index[rank - 1] : 0;
    for (int i = 0; i < max && first + i < t->index[rank]; i++)
        neighbors[i] = t->edges[first + i];
    return MPI_SUCCESS;
}

int MPI_Graph_map(MPI_Comm comm, int nodes, const int index[], const int edges[], int *rank)
{
    COMMUNICATOR(c, comm);
    (void)index, (void)edges;
    *rank = c->rank < nodes ? c->rank : MPI_UNDEFINED;
    return MPI_SUCCESS;
}
