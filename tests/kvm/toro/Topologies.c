/* Topologies, of a communicator and of its duplicate, and collective operations of neighbours. */
#include <mpi.h>
#include <stdio.h>

#define MOST 16 /* neighbours */

static int rank, size, next, before, wrong;

static void check_at(int holds, const char *what, int line)
{
    if (!holds) {
        printf("rank %d, line %d: %s\n", rank, line, what);
        wrong++;
    }
}
#define check(what) check_at(what, #what, __LINE__)

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

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    next = (rank + 1) % size;
    before = (rank + size - 1) % size;
    cartesian();
    graph();
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && !wrong)
        printf("all right\n");
    MPI_Finalize();
    return wrong != 0;
}
