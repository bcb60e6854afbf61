/* Distributed graphs: each rank knows its own edges (MPI 3.1, section 7.5.4). */
#include "topology.h"

static struct topology *new_graph(int sources, int destinations, bool weighted)
{
    struct topology *made = mpi_new_topology(MPI_DIST_GRAPH, 2 * (sources + destinations));
    made->weighted = weighted;
    made->sources = (struct edges){sources, made->numbers, made->numbers + sources};
    made->destinations = (struct edges){destinations, made->sources.weights + sources,
                                        made->sources.weights + sources + destinations};
    return made;
}

static int create(struct communicator *c, struct topology *topology, MPI_Comm *made)
{
    struct communicator *graph = mpi_first_ranks(c, c->size);
    graph->topology = topology;
    *made = graph->handle;
    return MPI_SUCCESS;
}

static bool are_edges(const struct communicator *c, int count, const int ranks[], const int weights[])
{
    for (int i = 0; i < count; i++)
        if (ranks[i] < 0 || ranks[i] >= c->size || (weights != MPI_UNWEIGHTED && weights[i] < 0))
            return false;
    return true;
}

static void set_edges(const struct edges *edges, const int ranks[], const int weights[])
{
    mpi_copy(edges->ranks, ranks, edges->count * sizeof(int));
    if (weights != MPI_UNWEIGHTED)
        mpi_copy(edges->weights, weights, edges->count * sizeof(int));
}

int MPI_Dist_graph_create_adjacent(MPI_Comm comm, int source_count, const int sources[], const int source_weights[],
                                   int destination_count, const int destinations[], const int destination_weights[],
                                   MPI_Info info, int reorder, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    (void)info, (void)reorder;
    CHECK(c, source_count >= 0 && are_edges(c, source_count, sources, source_weights), MPI_ERR_ARG);
    CHECK(c, destination_count >= 0 && are_edges(c, destination_count, destinations, destination_weights), MPI_ERR_ARG);
    struct topology *t = new_graph(source_count, destination_count, source_weights != MPI_UNWEIGHTED);
    set_edges(&t->sources, sources, source_weights);
    set_edges(&t->destinations, destinations, destination_weights);
    return create(c, t, made);
}

struct edge {
    int source, destination, weight;
};

/* Any rank may tell of any edge, so all are gathered. */
static struct edge *gather_edges(struct communicator *c, const struct edge *mine, int *count)
{
    int *counts = mpi_memory(2 * c->size * sizeof *counts), *places = counts + c->size, total = 0;
    int numbers = *count * (int)(sizeof *mine / sizeof(int));
    mpi_allgather(&numbers, counts, 1, MPI_INT, c);
    for (int i = 0; i < c->size; i++) {
        places[i] = total;
        total += counts[i];
    }
    struct edge *edges = mpi_memory(total * sizeof(int) + 1);
    mpi_perform(&(struct collective){.call = "MPI_Dist_graph_create", .run = mpi_run_allgather, .comm = c,
                                     .send = mine, .send_count = numbers, .send_type = MPI_INT, .receive = edges,
                                     .receive_counts = counts, .receive_offsets = places, .receive_type = MPI_INT});
    toro_release(counts);
    *count = total * sizeof(int) / sizeof *edges;
    return edges;
}

int MPI_Dist_graph_create(MPI_Comm comm, int nodes, const int sources[], const int degrees[], const int destinations[],
                          const int weights[], MPI_Info info, int reorder, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    int count = 0, from = 0, to = 0;
    (void)info, (void)reorder;
    CHECK(c, nodes >= 0, MPI_ERR_ARG);
    for (int i = 0; i < nodes; i++) {
        CHECK(c, degrees[i] >= 0, MPI_ERR_ARG);
        count += degrees[i];
    }
    CHECK(c, are_edges(c, nodes, sources, MPI_UNWEIGHTED) && are_edges(c, count, destinations, weights), MPI_ERR_ARG);
    struct edge *mine = mpi_memory(count * sizeof *mine + 1);
    for (int i = 0, at = 0; i < nodes; i++)
        for (int end = at + degrees[i]; at < end; at++)
            mine[at] = (struct edge){sources[i], destinations[at], weights == MPI_UNWEIGHTED ? 0 : weights[at]};
    struct edge *edges = gather_edges(c, mine, &count);
    for (int i = 0; i < count; i++) {
        from += edges[i].destination == c->rank;
        to += edges[i].source == c->rank;
    }
    struct topology *t = new_graph(from, to, weights != MPI_UNWEIGHTED);
    from = to = 0;
    for (int i = 0; i < count; i++) {
        if (edges[i].destination == c->rank) {
            t->sources.ranks[from] = edges[i].source;
            t->sources.weights[from++] = edges[i].weight;
        }
        if (edges[i].source == c->rank) {
            t->destinations.ranks[to] = edges[i].destination;
            t->destinations.weights[to++] = edges[i].weight;
        }
    }
    toro_release(mine);
    toro_release(edges);
    return create(c, t, made);
}

int MPI_Dist_graph_neighbors_count(MPI_Comm comm, int *source_count, int *destination_count, int *weighted)
{
    TOPOLOGY(t, comm, MPI_DIST_GRAPH);
    *source_count = t->sources.count;
    *destination_count = t->destinations.count;
    *weighted = t->weighted;
    return MPI_SUCCESS;
}

static void get_edges(const struct topology *t, const struct edges *edges, int max, int ranks[], int weights[])
{
    int count = max < edges->count ? max : edges->count;
    mpi_copy(ranks, edges->ranks, count * sizeof(int));
    if (t->weighted && weights != MPI_UNWEIGHTED)
        mpi_copy(weights, edges->weights, count * sizeof(int));
}

int MPI_Dist_graph_neighbors(MPI_Comm comm, int max_sources, int sources[], int source_weights[], int max_destinations,
                             int destinations[], int destination_weights[])
{
    TOPOLOGY(t, comm, MPI_DIST_GRAPH);
    CHECK(c, max_sources >= 0 && max_destinations >= 0, MPI_ERR_ARG);
    get_edges(t, &t->sources, max_sources, sources, source_weights);
    get_edges(t, &t->destinations, max_destinations, destinations, destination_weights);
    return MPI_SUCCESS;
}
