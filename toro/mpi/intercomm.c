/* Intercommunicators: two groups, whose ranks send to ranks of the other (MPI 3.1, section 6.6). */
#include "internal.h"

struct member {
    int color, key, world;
};

/* An intercommunicator; both groups call this with the same context, and the one after it. */
static struct communicator *make(struct communicator *local, struct group *remote, int context)
{
    struct communicator *made = mpi_make_comm(local->group, context, local);
    remote->references++;
    made->remote = remote;
    made->peers = remote->world;
    made->remote_size = remote->size;
    made->local = mpi_make_comm(local->group, context + 2, local);
    mpi_hide_comm(made->local);
    return made;
}

int MPI_Intercomm_create(MPI_Comm local, int local_leader, MPI_Comm peer, int remote_leader, int tag, MPI_Comm *made)
{
    COMMUNICATOR(c, local);
    struct {
        int context, size, world[RANKS_MAX];
    } mine, other;
    CHECK(c, local_leader >= 0 && local_leader < c->size, MPI_ERR_RANK);
    mine.size = c->size;
    mpi_copy(mine.world, c->group->world, c->size * sizeof(int));
    if (c->rank == local_leader) {
        struct communicator *p = mpi_comm(peer);
        CHECK(c, p, MPI_ERR_COMM);
        mine.context = mpi_new_context();
        int result = MPI_Sendrecv(&mine, sizeof mine, MPI_BYTE, remote_leader, tag, &other, sizeof other, MPI_BYTE,
                                  remote_leader, tag, peer, MPI_STATUS_IGNORE);
        if (result)
            return result;
        other.context = other.context > mine.context ? other.context : mine.context;
    }
    mpi_bcast(&other, sizeof other, MPI_BYTE, local_leader, c);
    struct group *remote = mpi_make_group(other.size);
    mpi_copy(remote->world, other.world, other.size * sizeof(int));
    *made = make(c, remote, other.context)->handle;
    mpi_release_group(remote);
    return MPI_SUCCESS;
}

int MPI_Intercomm_merge(MPI_Comm inter, int high, MPI_Comm *made)
{
    COMMUNICATOR(c, inter);
    CHECK(c, c->local, MPI_ERR_COMM);
    int other = 0, context = mpi_agree_on_context(c);
    if (c->local->rank == 0)
        mpi_exchange(&high, 1, MPI_INT, 0, &other, 1, MPI_INT, 0, c->sequence, c);
    c->sequence++;
    mpi_bcast(&other, 1, MPI_INT, 0, c->local);
    bool first = !high == !other ? c->group->world[0] < c->remote->world[0] : !high;
    struct group *a = first ? c->group : c->remote, *b = first ? c->remote : c->group;
    struct group *both = mpi_make_group(a->size + b->size);
    mpi_copy(both->world, a->world, a->size * sizeof(int));
    mpi_copy(both->world + a->size, b->world, b->size * sizeof(int));
    *made = mpi_make_comm(both, context, c)->handle;
    mpi_release_group(both);
    return MPI_SUCCESS;
}

/* Tells all ranks of one side what the ranks of the other have. */
static void swap(struct communicator *c, const void *mine, int count, void *others, int *other_count)
{
    int size = 0;
    if (c->local->rank == 0) {
        mpi_exchange(&count, 1, MPI_INT, 0, &size, 1, MPI_INT, 0, c->sequence, c);
        mpi_exchange(mine, count, MPI_INT, 0, others, size, MPI_INT, 0, c->sequence, c);
    }
    c->sequence++;
    mpi_bcast(&size, 1, MPI_INT, 0, c->local);
    mpi_bcast(others, size, MPI_INT, 0, c->local);
    *other_count = size;
}

int mpi_create_inter(struct communicator *c, struct group *group, MPI_Comm *made)
{
    int others[RANKS_MAX], count, context = mpi_agree_on_context(c);
    swap(c, group->world, group->size, others, &count);
    *made = MPI_COMM_NULL;
    if (mpi_rank_in(group, mpi_rank) == MPI_UNDEFINED || !count)
        return MPI_SUCCESS;
    struct group *remote = mpi_make_group(count);
    mpi_copy(remote->world, others, count * sizeof(int));
    struct communicator side = {.group = group, .handler = c->handler};
    *made = make(&side, remote, context)->handle;
    mpi_release_group(remote);
    return MPI_SUCCESS;
}

int mpi_split_inter(struct communicator *c, int color, struct group *mine, const void *self, MPI_Comm *made)
{
    struct member members[RANKS_MAX], others[RANKS_MAX];
    int count, context = mpi_agree_on_context(c);
    mpi_allgather(self, members, 3, MPI_INT, c->local);
    swap(c, members, 3 * c->size, others, &count);
    struct group *remote = mpi_members_of(others, count / 3, color);
    *made = MPI_COMM_NULL;
    if (color != MPI_UNDEFINED && remote->size) {
        struct communicator side = {.group = mine, .handler = c->handler};
        *made = make(&side, remote, context)->handle;
    }
    mpi_release_group(remote);
    mpi_release_group(mine);
    return MPI_SUCCESS;
}
