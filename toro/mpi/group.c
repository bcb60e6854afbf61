/* Groups: lists of ranks of MPI_COMM_WORLD (MPI 3.1, section 6.3). */
#include "internal.h"

static struct table groups;

struct group *mpi_make_group(int size)
{
    struct group *group = mpi_memory(sizeof *group + size * sizeof(int));
    group->size = size;
    group->references = 1;
    return group;
}

static void begin(void)
{
    if (!groups.size) {
        mpi_table_add(&groups, mpi_make_group(0));
        groups.first = 1;
    }
}

struct group *mpi_group(MPI_Group handle)
{
    begin();
    return mpi_table_at(&groups, handle);
}

MPI_Group mpi_add_group(struct group *group)
{
    begin();
    if (!group->size) {
        mpi_release_group(group);
        return MPI_GROUP_EMPTY;
    }
    return mpi_table_add(&groups, group);
}

void mpi_release_group(struct group *group)
{
    if (!--group->references)
        toro_release(group);
}

int mpi_rank_in(const struct group *group, int world)
{
    for (int i = 0; i < group->size; i++)
        if (group->world[i] == world)
            return i;
    return MPI_UNDEFINED;
}

int MPI_Group_size(MPI_Group group, int *size)
{
    GROUP(g, group);
    *size = g->size;
    return MPI_SUCCESS;
}

int MPI_Group_rank(MPI_Group group, int *rank)
{
    GROUP(g, group);
    *rank = mpi_rank_in(g, mpi_rank);
    return MPI_SUCCESS;
}

int MPI_Group_compare(MPI_Group a, MPI_Group b, int *result)
{
    GROUP(x, a);
    GROUP(y, b);
    *result = x->size == y->size ? MPI_IDENT : MPI_UNEQUAL;
    for (int i = 0; i < x->size && *result != MPI_UNEQUAL; i++)
        if (x->world[i] != y->world[i])
            *result = mpi_rank_in(y, x->world[i]) == MPI_UNDEFINED ? MPI_UNEQUAL : MPI_SIMILAR;
    return MPI_SUCCESS;
}

int MPI_Group_translate_ranks(MPI_Group a, int count, const int ranks[], MPI_Group b, int result[])
{
    GROUP(x, a);
    GROUP(y, b);
    CHECK(NULL, count >= 0, MPI_ERR_ARG);
    for (int i = 0; i < count; i++) {
        CHECK(NULL, ranks[i] == MPI_PROC_NULL || (ranks[i] >= 0 && ranks[i] < x->size), MPI_ERR_RANK);
        result[i] = ranks[i] == MPI_PROC_NULL ? MPI_PROC_NULL : mpi_rank_in(y, x->world[ranks[i]]);
    }
    return MPI_SUCCESS;
}

/* The members of x that are (or, without `in`, are not) in y, then, if `both`, those of y that are not in x. */
static MPI_Group select(const struct group *x, const struct group *y, bool all, bool in, bool both)
{
    struct group *made = mpi_make_group(x->size + y->size);
    made->size = 0;
    for (int i = 0; i < x->size; i++)
        if (all || (mpi_rank_in(y, x->world[i]) != MPI_UNDEFINED) == in)
            made->world[made->size++] = x->world[i];
    for (int i = 0; both && i < y->size; i++)
        if (mpi_rank_in(x, y->world[i]) == MPI_UNDEFINED)
            made->world[made->size++] = y->world[i];
    return mpi_add_group(made);
}

int MPI_Group_union(MPI_Group a, MPI_Group b, MPI_Group *made)
{
    GROUP(x, a);
    GROUP(y, b);
    *made = select(x, y, true, false, true);
    return MPI_SUCCESS;
}

int MPI_Group_intersection(MPI_Group a, MPI_Group b, MPI_Group *made)
{
    GROUP(x, a);
    GROUP(y, b);
    *made = select(x, y, false, true, false);
    return MPI_SUCCESS;
}

int MPI_Group_difference(MPI_Group a, MPI_Group b, MPI_Group *made)
{
    GROUP(x, a);
    GROUP(y, b);
    *made = select(x, y, false, false, false);
    return MPI_SUCCESS;
}

static int include(struct group *g, int count, const int ranks[], const char *call, MPI_Group *made)
{
    for (int i = 0; i < count; i++)
        if (ranks[i] < 0 || ranks[i] >= g->size)
            return mpi_fail(NULL, call, MPI_ERR_RANK);
    struct group *group = mpi_make_group(count);
    for (int i = 0; i < count; i++)
        group->world[i] = g->world[ranks[i]];
    *made = mpi_add_group(group);
    return MPI_SUCCESS;
}

static int exclude(struct group *g, int count, const int ranks[], const char *call, MPI_Group *made)
{
    struct group *group = mpi_make_group(g->size);
    group->size = 0;
    for (int i = 0; i < count; i++)
        if (ranks[i] < 0 || ranks[i] >= g->size)
            return mpi_fail(NULL, call, MPI_ERR_RANK);
    for (int rank = 0; rank < g->size; rank++) {
        bool listed = false;
        for (int i = 0; i < count && !listed; i++)
            listed = ranks[i] == rank;
        if (!listed)
            group->world[group->size++] = g->world[rank];
    }
    *made = mpi_add_group(group);
    return MPI_SUCCESS;
}

int MPI_Group_incl(MPI_Group group, int count, const int ranks[], MPI_Group *made)
{
    GROUP(g, group);
    CHECK(NULL, count >= 0, MPI_ERR_ARG);
    return include(g, count, ranks, __func__, made);
}

int MPI_Group_excl(MPI_Group group, int count, const int ranks[], MPI_Group *made)
{
    GROUP(g, group);
    CHECK(NULL, count >= 0, MPI_ERR_ARG);
    return exclude(g, count, ranks, __func__, made);
}

/* The ranks of some ranges, each first, last and stride; their number, or -1. */
static int expand(int count, int ranges[][3], int *ranks, int max)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        int first = ranges[i][0], last = ranges[i][1], stride = ranges[i][2];
        if (!stride || (last - first) / stride < 0)
            return -1;
        for (int rank = first; stride > 0 ? rank <= last : rank >= last; rank += stride) {
            if (n == max)
                return -1;
            ranks[n++] = rank;
        }
    }
    return n;
}

int MPI_Group_range_incl(MPI_Group group, int count, int ranges[][3], MPI_Group *made)
{
    int ranks[RANKS_MAX + 1];
    GROUP(g, group);
    int n = expand(count, ranges, ranks, RANKS_MAX);
    CHECK(NULL, n >= 0, MPI_ERR_ARG);
    return include(g, n, ranks, __func__, made);
}

int MPI_Group_range_excl(MPI_Group group, int count, int ranges[][3], MPI_Group *made)
{
    int ranks[RANKS_MAX + 1];
    GROUP(g, group);
    int n = expand(count, ranges, ranks, RANKS_MAX);
    CHECK(NULL, n >= 0, MPI_ERR_ARG);
    return exclude(g, n, ranks, __func__, made);
}

int MPI_Group_free(MPI_Group *group)
{
    GROUP(g, *group);
    if (*group != MPI_GROUP_EMPTY) {
        mpi_table_remove(&groups, *group);
        mpi_release_group(g);
    }
    *group = MPI_GROUP_NULL;
    return MPI_SUCCESS;
}
