/* Cartesian topologies (MPI 3.1, chapter 7). Ranks keep their order: all are as near to each other. */
#include "topology.h"

struct topology *mpi_new_topology(int kind, int numbers)
{
    struct topology *made = mpi_cleared(sizeof *made + numbers * sizeof(int));
    made->kind = kind;
    made->references = 1;
    return made;
}

void mpi_release_topology(struct topology *topology)
{
    if (!--topology->references)
        toro_release(topology);
}

static void coordinates_of(const struct topology *topology, int rank, int coordinates[])
{
    for (int i = topology->dimensions - 1; i >= 0; i--) {
        coordinates[i] = rank % topology->sizes[i];
        rank /= topology->sizes[i];
    }
}

/* The rank at some coordinates; MPI_PROC_NULL: outside. */
static int rank_at(const struct topology *topology, const int coordinates[])
{
    int rank = 0;
    for (int i = 0; i < topology->dimensions; i++) {
        int size = topology->sizes[i], at = coordinates[i];
        if (at < 0 || at >= size) {
            if (!topology->periodic[i])
                return MPI_PROC_NULL;
            at = (at % size + size) % size;
        }
        rank = rank * size + at;
    }
    return rank;
}

#define MOST_DIVISORS 1536 /* that an int has */

/* How a number of ranks is divided among dimensions: the sizes descend, the first and the last are as close to each
 * other as can be, and the last ones as large as can be then. */
struct division {
    int count, divisors[MOST_DIVISORS];
    int dimensions, spread; /* spread: of the best sizes so far */
    int *sizes, *best;
};

static bool reaches(int64_t size, int dimensions, int64_t ranks)
{
    int64_t product = 1;
    while (dimensions-- && product < ranks)
        product *= size;
    return product >= ranks;
}

/* Tries all sizes of a dimension up to `most`, and of those after it. */
static void divide(struct division *d, int at, int rest, int most)
{
    int left = d->dimensions - at;
    if (!left) {
        int spread = d->sizes[0] - d->sizes[at - 1];
        while (--at && d->sizes[at] == d->best[at])
            ;
        if (spread < d->spread || d->sizes[at] > d->best[at]) {
            d->spread = spread;
            memcpy(d->best, d->sizes, d->dimensions * sizeof *d->sizes);
        }
        return;
    }
    for (int i = 0; i < d->count && d->divisors[i] <= most; i++) {
        int size = d->divisors[i];
        if (rest % size || !reaches(size, left, rest))
            continue;
        d->sizes[at] = size;
        int64_t least = d->sizes[0] - d->spread; /* that the last must have */
        if (least <= 1 || !reaches(least, left, rest + 1L))
            divide(d, at + 1, rest / size, size);
    }
}

int MPI_Dims_create(int nodes, int dimensions, int sizes[])
{
    int rest = nodes, open = 0;
    CHECK(NULL, nodes > 0 && dimensions >= 0, MPI_ERR_DIMS);
    for (int i = 0; i < dimensions; i++) {
        CHECK(NULL, sizes[i] >= 0, MPI_ERR_DIMS);
        if (sizes[i]) {
            CHECK(NULL, rest % sizes[i] == 0, MPI_ERR_DIMS);
            rest /= sizes[i];
        } else
            open++;
    }
    if (!open) {
        CHECK(NULL, rest == 1, MPI_ERR_DIMS);
        return MPI_SUCCESS;
    }
    int *made = mpi_cleared(2 * open * sizeof *made);
    struct division division = {.dimensions = open, .spread = INT32_MAX, .sizes = made, .best = made + open};
    int small = 0;
    for (int i = 1; i <= rest / i; i++)
        if (rest % i == 0)
            division.divisors[small++] = i;
    division.count = small;
    while (small--)
        if (division.divisors[small] != rest / division.divisors[small])
            division.divisors[division.count++] = rest / division.divisors[small];
    divide(&division, 0, rest, rest);
    for (int i = 0; i < dimensions; i++)
        if (!sizes[i])
            sizes[i] = *division.best++;
    toro_release(made);
    return MPI_SUCCESS;
}

struct communicator *mpi_first_ranks(struct communicator *c, int count)
{
    int context = mpi_agree_on_context(c);
    if (c->rank >= count)
        return NULL;
    struct group *group = mpi_make_group(count);
    mpi_copy(group->world, c->group->world, count * sizeof(int));
    struct communicator *made = mpi_make_comm(group, context, c);
    mpi_release_group(group);
    return made;
}

static struct topology *new_cart(int dimensions)
{
    struct topology *made = mpi_new_topology(MPI_CART, 3 * dimensions);
    made->dimensions = dimensions;
    made->sizes = made->numbers;
    made->periodic = made->sizes + dimensions;
    made->coordinates = made->periodic + dimensions;
    return made;
}

int MPI_Cart_create(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int reorder,
                    MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    int count = 1;
    (void)reorder;
    CHECK(c, dimensions >= 0, MPI_ERR_DIMS);
    for (int i = 0; i < dimensions; i++) {
        CHECK(c, sizes[i] > 0, MPI_ERR_DIMS);
        count *= sizes[i];
    }
    CHECK(c, count <= c->size, MPI_ERR_DIMS);
    struct communicator *cart = mpi_first_ranks(c, count);
    *made = MPI_COMM_NULL;
    if (!cart)
        return MPI_SUCCESS;
    cart->topology = new_cart(dimensions);
    for (int i = 0; i < dimensions; i++) {
        cart->topology->sizes[i] = sizes[i];
        cart->topology->periodic[i] = periodic[i] != 0;
    }
    coordinates_of(cart->topology, cart->rank, cart->topology->coordinates);
    *made = cart->handle;
    return MPI_SUCCESS;
}

int MPI_Cartdim_get(MPI_Comm comm, int *dimensions)
{
    TOPOLOGY(t, comm, MPI_CART);
    *dimensions = t->dimensions;
    return MPI_SUCCESS;
}

int MPI_Cart_get(MPI_Comm comm, int max, int sizes[], int periodic[], int coordinates[])
{
    TOPOLOGY(t, comm, MPI_CART);
    for (int i = 0; i < t->dimensions && i < max; i++) {
        sizes[i] = t->sizes[i];
        periodic[i] = t->periodic[i];
        coordinates[i] = t->coordinates[i];
    }
    return MPI_SUCCESS;
}

int MPI_Cart_rank(MPI_Comm comm, const int coordinates[], int *rank)
{
    TOPOLOGY(t, comm, MPI_CART);
    *rank = rank_at(t, coordinates);
    CHECK(c, *rank != MPI_PROC_NULL, MPI_ERR_ARG);
    return MPI_SUCCESS;
}

int MPI_Cart_coords(MPI_Comm comm, int rank, int max, int coordinates[])
{
    TOPOLOGY(t, comm, MPI_CART);
    CHECK(c, rank >= 0 && rank < c->size, MPI_ERR_RANK);
    CHECK(c, max >= t->dimensions, MPI_ERR_DIMS);
    coordinates_of(t, rank, coordinates);
    return MPI_SUCCESS;
}

int mpi_cart_neighbour(const struct topology *t, int dimension, int distance)
{
    int before = t->coordinates[dimension];
    t->coordinates[dimension] += distance;
    int rank = rank_at(t, t->coordinates);
    t->coordinates[dimension] = before;
    return rank;
}

int MPI_Cart_shift(MPI_Comm comm, int dimension, int distance, int *source, int *destination)
{
    TOPOLOGY(t, comm, MPI_CART);
    CHECK(c, dimension >= 0 && dimension < t->dimensions, MPI_ERR_DIMS);
    *source = mpi_cart_neighbour(t, dimension, -distance);
    *destination = mpi_cart_neighbour(t, dimension, distance);
    return MPI_SUCCESS;
}

int MPI_Cart_sub(MPI_Comm comm, const int kept[], MPI_Comm *made)
{
    TOPOLOGY(t, comm, MPI_CART);
    int color = 0, key = 0, dimensions = 0;
    for (int i = 0; i < t->dimensions; i++)
        if (kept[i]) {
            key = key * t->sizes[i] + t->coordinates[i];
            dimensions++;
        } else
            color = color * t->sizes[i] + t->coordinates[i];
    int result = MPI_Comm_split(comm, color, key, made);
    if (result)
        return result;
    struct topology *sub = mpi_comm(*made)->topology = new_cart(dimensions);
    for (int i = 0, j = 0; i < t->dimensions; i++)
        if (kept[i]) {
            sub->sizes[j] = t->sizes[i];
            sub->periodic[j] = t->periodic[i];
            sub->coordinates[j++] = t->coordinates[i];
        }
    return MPI_SUCCESS;
}

int MPI_Cart_map(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int *rank)
{
    COMMUNICATOR(c, comm);
    int count = 1;
    (void)periodic;
    for (int i = 0; i < dimensions; i++)
        count *= sizes[i];
    CHECK(c, count > 0 && count <= c->size, MPI_ERR_DIMS);
    *rank = c->rank < count ? c->rank : MPI_UNDEFINED;
    return MPI_SUCCESS;
}

int MPI_Topo_test(MPI_Comm comm, int *kind)
{
    COMMUNICATOR(c, comm);
    *kind = c->topology ? c->topology->kind : MPI_UNDEFINED;
    return MPI_SUCCESS;
}
