/* Topologies, of a communicator and of its duplicate, and collective operations of neighbours. */
#include "checks.h"

#define MOST 16 /* neighbours */


/* Sends to each neighbour what it can check; nothing comes from MPI_PROC_NULL. */
static void talk(MPI_Comm comm, int from_count, const int from[], int to_count, const int to[])
{
    int out[MOST], in[MOST], counts[MOST], places[MOST];
    MPI_Request request;
    MPI_Datatype types[MOST];
    MPI_Aint addresses[MOST];

    for (int i = 0; i < MOST; i++) {
        in[i] = -1;
        counts[i] = 1;
        places[i] = MOST - 1 - i;
        types[i] = MPI_INT;
        addresses[i] = places[i] * sizeof(int);
    }
    MPI_Neighbor_allgather(&rank, 1, MPI_INT, in, 1, MPI_INT, comm);
    for (int i = 0; i < from_count; i++)
        check(in[i] == (from[i] == MPI_PROC_NULL ? -1 : from[i]));
    for (int i = 0; i < to_count; i++)
        out[i] = 1000 * rank + to[i];
    MPI_Ineighbor_alltoall(out, 1, MPI_INT, in, 1, MPI_INT, comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    for (int i = 0; i < from_count; i++)
        check(in[i] == (from[i] == MPI_PROC_NULL ? -1 : 1000 * from[i] + rank));
    for (int i = 0; i < to_count; i++)
        out[places[i]] = 1000 * to[i] + rank;
    MPI_Neighbor_alltoallw(out, counts, addresses, types, in, counts, addresses, types, comm);
    for (int i = 0; i < from_count; i++)
        check(from[i] == MPI_PROC_NULL || in[places[i]] == 1000 * rank + from[i]);
}

static void talk_in_both(MPI_Comm comm, int kind, int from_count, const int from[], int to_count, const int to[])
{
    int found;
    MPI_Comm copy;
    talk(comm, from_count, from, to_count, to);
    MPI_Comm_dup(comm, &copy);
    MPI_Comm_free(&comm);
    MPI_Topo_test(copy, &found);
    check(found == kind);
    talk(copy, from_count, from, to_count, to);
    MPI_Comm_free(&copy);
}

static void cartesian(void)
{
    for (int periodic = 0; periodic < 2; periodic++) {
        int neighbours[2];
        MPI_Comm comm;
        MPI_Cart_create(MPI_COMM_WORLD, 1, &size, &periodic, 0, &comm);
        MPI_Cart_shift(comm, 0, 1, &neighbours[0], &neighbours[1]);
        check(neighbours[0] == (rank || periodic ? before : MPI_PROC_NULL));
        check(neighbours[1] == (next || periodic ? next : MPI_PROC_NULL));
        talk_in_both(comm, MPI_CART, 2, neighbours, 2, neighbours);
    }
}

/* A star around rank 0. */
static void graph(void)
{
    int index[MOST], edges[2 * MOST], neighbours[MOST], nodes, count, found[MOST] = {0};
    MPI_Comm comm;
    for (int i = 0; i < size; i++) {
        index[i] = size - 1 + i;
        edges[i] = i + 1;
        edges[2 * size - 2 - i] = 0;
        neighbours[i] = rank ? 0 : i + 1;
    }
    MPI_Graph_create(MPI_COMM_WORLD, size, index, edges, 0, &comm);
    MPI_Graphdims_get(comm, &nodes, &count);
    check(nodes == size && count == 2 * (size - 1));
    MPI_Graph_neighbors_count(comm, rank, &count);
    check(count == (rank ? 1 : size - 1));
    MPI_Graph_neighbors(comm, rank, MOST, found);
    for (int i = 0; i < count; i++)
        check(found[i] == neighbours[i]);
    talk_in_both(comm, MPI_GRAPH, count, neighbours, count, neighbours);
}

static void check_edges(MPI_Comm comm, int is_weighted, const int from[], const int from_weights[], const int to[],
                        const int to_weights[], int count)
{
    int found_from[MOST], found_to[MOST], weights[2][MOST], in, out, weighted;
    MPI_Dist_graph_neighbors_count(comm, &in, &out, &weighted);
    check(in == count && out == count && weighted == is_weighted);
    MPI_Dist_graph_neighbors(comm, count, found_from, weights[0], count, found_to, weights[1]);
    for (int i = 0; i < count; i++) {
        check(found_from[i] == from[i] && found_to[i] == to[i]);
        check(!is_weighted || (weights[0][i] == from_weights[i] && weights[1][i] == to_weights[i]));
    }
    found_from[1] = -1;
    MPI_Dist_graph_neighbors(comm, 1, found_from, MPI_UNWEIGHTED, 1, found_to, MPI_UNWEIGHTED);
    check(found_from[0] == from[0] && found_from[1] == -1 && found_to[0] == to[0]);
}

/* Each rank sends to the next one, twice, and to itself. */
static void distributed_graph(void)
{
    int from[] = {before, before, rank}, to[] = {next, next, rank}, degree = 3, in, out, weighted;
    int from_weights[] = {before, before, 7}, to_weights[] = {rank, rank, 7};
    MPI_Comm comm;

    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 3, from, from_weights, 3, to, to_weights, MPI_INFO_NULL, 0, &comm);
    check_edges(comm, 1, from, from_weights, to, to_weights, 3);
    talk_in_both(comm, MPI_DIST_GRAPH, 3, from, 3, to);
    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 3, from, MPI_UNWEIGHTED, 3, to, MPI_UNWEIGHTED, MPI_INFO_NULL, 0,
                                   &comm);
    check_edges(comm, 0, from, NULL, to, NULL, 3);
    MPI_Comm_free(&comm);

    MPI_Dist_graph_create(MPI_COMM_WORLD, 1, &rank, &degree, to, MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &comm);
    MPI_Dist_graph_neighbors_count(comm, &in, &out, &weighted);
    check(in == 3 && out == 3 && !weighted);
    MPI_Comm_free(&comm);
    /* Rank 0 tells of all edges, in a ring the other way around. */
    int sources[MOST], degrees[MOST], destinations[MOST], weights[MOST];
    for (int i = 0; i < size; i++) {
        sources[i] = i;
        degrees[i] = 1;
        destinations[i] = (i + size - 1) % size;
        weights[i] = 10 * i;
    }
    if (rank == 0)
        MPI_Dist_graph_create(MPI_COMM_WORLD, size, sources, degrees, destinations, weights, MPI_INFO_NULL, 0, &comm);
    else
        MPI_Dist_graph_create(MPI_COMM_WORLD, 0, NULL, NULL, NULL, MPI_WEIGHTS_EMPTY, MPI_INFO_NULL, 0, &comm);
    check_edges(comm, 1, &next, &weights[next], &before, &weights[rank], 1);
    talk_in_both(comm, MPI_DIST_GRAPH, 1, &next, 1, &before);

    /* From rank 0 to all others, which send nothing. */
    int root = 0;
    for (int i = 1; i < size; i++)
        destinations[i - 1] = i;
    MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, rank != 0, &root, MPI_UNWEIGHTED, rank ? 0 : size - 1, destinations,
                                   MPI_UNWEIGHTED, MPI_INFO_NULL, 0, &comm);
    talk_in_both(comm, MPI_DIST_GRAPH, rank != 0, &root, rank ? 0 : size - 1, destinations);

    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Error_class(MPI_Dist_graph_neighbors_count(MPI_COMM_WORLD, &in, &out, &weighted), &in);
    check(in == MPI_ERR_TOPOLOGY);
    MPI_Error_class(MPI_Dist_graph_create_adjacent(MPI_COMM_WORLD, 1, &size, MPI_UNWEIGHTED, 0, NULL, MPI_UNWEIGHTED,
                                                   MPI_INFO_NULL, 0, &comm), &in);
    check(in == MPI_ERR_ARG);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
}

int main(int argc, char **argv)
{
    begin_checks(&argc, &argv);
    cartesian();
    graph();
    distributed_graph();
    return end_checks();
}
