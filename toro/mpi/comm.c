/* Communicators (MPI 3.1, section 6.4). Their context keeps their messages apart: one of the members
 * takes it from a number that all ranks share. */
#include "topology.h"

struct table mpi_comms;
static _Atomic int made_contexts SHARED;

struct communicator *mpi_world(void)
{
    return mpi_table_at(&mpi_comms, MPI_COMM_WORLD);
}

struct communicator *mpi_make_comm(struct group *group, int context, struct communicator *parent)
{
    struct communicator *made = mpi_cleared(sizeof *made);
    group->references++;
    made->group = group;
    made->peers = group->world;
    made->size = made->remote_size = group->size;
    made->rank = mpi_rank_in(group, mpi_rank);
    made->context = context;
    made->references = 1;
    made->handler = parent ? parent->handler : MPI_ERRORS_ARE_FATAL;
    made->handle = mpi_table_add(&mpi_comms, made);
    return made;
}

void mpi_start_comms(void)
{
    struct group *world = mpi_make_group(mpi_size), *self = mpi_make_group(1);
    for (int i = 0; i < mpi_size; i++)
        world->world[i] = i;
    self->world[0] = mpi_rank;
    mpi_copy_text(mpi_make_comm(world, 0, NULL)->name, "MPI_COMM_WORLD", NAME_SIZE, NULL);
    mpi_copy_text(mpi_make_comm(self, 2, NULL)->name, "MPI_COMM_SELF", NAME_SIZE, NULL);
    mpi_comms.first = 2;
}

/* Once the last operation is over. */
void mpi_release_comm(struct communicator *comm)
{
    if (--comm->references)
        return;
    mpi_release_group(comm->group);
    if (comm->remote)
        mpi_release_group(comm->remote);
    if (comm->local)
        mpi_release_comm(comm->local);
    if (comm->topology)
        mpi_release_topology(comm->topology);
    toro_release(comm);
}

int mpi_new_context(void)
{
    return 4 * (1 + atomic_fetch_add(&made_contexts, 1));
}

static int agree_on_context(struct communicator *comm, int tag)
{
    struct communicator *local = comm->local ? comm->local : comm;
    int context = 0, other = 0;
    if (local->rank == 0)
        context = mpi_new_context();
    if (local->rank == 0 && comm->local) {
        mpi_exchange(&context, 1, MPI_INT, 0, &other, 1, MPI_INT, 0, tag, comm);
        context = context > other ? context : other;
    }
    mpi_run_bcast(&(struct collective){.comm = local, .tag = tag, .receive = &context, .receive_count = 1,
                                       .receive_type = MPI_INT});
    return context;
}

int mpi_agree_on_context(struct communicator *comm)
{
    return agree_on_context(comm, mpi_next_tag(comm));
}

void mpi_hide_comm(struct communicator *comm)
{
    mpi_table_remove(&mpi_comms, comm->handle);
    comm->sequence = 1 << 29; /* apart from the tags of the intercommunicator's operations, which use it, too */
}

int MPI_Comm_size(MPI_Comm comm, int *size)
{
    mpi_start();
    COMMUNICATOR(c, comm);
    *size = c->size;
    return MPI_SUCCESS;
}

int MPI_Comm_rank(MPI_Comm comm, int *rank)
{
    mpi_start();
    COMMUNICATOR(c, comm);
    *rank = c->rank;
    return MPI_SUCCESS;
}

int MPI_Comm_group(MPI_Comm comm, MPI_Group *group)
{
    COMMUNICATOR(c, comm);
    c->group->references++;
    *group = mpi_add_group(c->group);
    return MPI_SUCCESS;
}

static int compare(const struct group *x, const struct group *y)
{
    int result = x->size == y->size ? MPI_CONGRUENT : MPI_UNEQUAL;
    for (int i = 0; i < x->size && result != MPI_UNEQUAL; i++)
        if (x->world[i] != y->world[i])
            result = mpi_rank_in(y, x->world[i]) == MPI_UNDEFINED ? MPI_UNEQUAL : MPI_SIMILAR;
    return result;
}

int MPI_Comm_compare(MPI_Comm a, MPI_Comm b, int *result)
{
    COMMUNICATOR(x, a);
    COMMUNICATOR(y, b);
    if (a == b)
        *result = MPI_IDENT;
    else if (!x->local != !y->local)
        *result = MPI_UNEQUAL;
    else {
        *result = compare(x->group, y->group);
        if (x->local) {
            int remote = compare(x->remote, y->remote);
            *result = remote > *result ? remote : *result;
        }
    }
    return MPI_SUCCESS;
}

/* A communicator like another one, but for its context. */
static struct communicator *duplicate(struct communicator *c)
{
    struct communicator *made = mpi_make_comm(c->group, 0, c);
    if (c->local) {
        c->remote->references++;
        made->remote = c->remote;
        made->peers = c->remote->world;
        made->remote_size = c->remote_size;
        made->local = mpi_make_comm(c->group, 0, c);
        mpi_hide_comm(made->local);
    }
    if (c->topology) {
        c->topology->references++;
        made->topology = c->topology;
    }
    return made;
}

static int run_dup(struct collective *what)
{
    struct communicator *copy = what->receive;
    copy->context = agree_on_context(what->comm, what->tag);
    if (copy->local)
        copy->local->context = copy->context + 2;
    return MPI_SUCCESS;
}

static void end(struct mpi_request *request)
{
    mpi_wait(request);
    mpi_free_request(request);
}

static int begin_dup(MPI_Comm comm, MPI_Comm *made, MPI_Request *request, const char *call)
{
    struct communicator *c = mpi_comm(comm);
    if (!c)
        return mpi_fail(NULL, call, MPI_ERR_COMM);
    struct communicator *copy = duplicate(c);
    int result = mpi_copy_attributes(comm, c->attributes, &copy->attributes);
    mpi_begin(&(struct collective){.call = call, .run = run_dup, .comm = c, .receive = copy}, request);
    *made = copy->handle;
    if (result) { /* the other ranks may have copied theirs */
        end(*request);
        mpi_hide_comm(copy);
        mpi_release_comm(copy);
        *made = MPI_COMM_NULL;
        return mpi_fail(c, call, result);
    }
    return MPI_SUCCESS;
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *made)
{
    MPI_Request request;
    int result = begin_dup(comm, made, &request, __func__);
    if (!result)
        end(request);
    return result;
}

int MPI_Comm_idup(MPI_Comm comm, MPI_Comm *made, MPI_Request *request)
{
    return begin_dup(comm, made, request, __func__);
}

int MPI_Comm_dup_with_info(MPI_Comm comm, MPI_Info info, MPI_Comm *made)
{
    (void)info;
    return MPI_Comm_dup(comm, made);
}

int MPI_Comm_idup_with_info(MPI_Comm comm, MPI_Info info, MPI_Comm *made, MPI_Request *request)
{
    (void)info;
    return MPI_Comm_idup(comm, made, request);
}

int MPI_Comm_create(MPI_Comm comm, MPI_Group group, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    struct group *g = mpi_group(group);
    CHECK(c, g, MPI_ERR_GROUP);
    if (c->local)
        return mpi_create_inter(c, g, made);
    int context = mpi_agree_on_context(c);
    *made = MPI_COMM_NULL;
    if (mpi_rank_in(g, mpi_rank) != MPI_UNDEFINED)
        *made = mpi_make_comm(g, context, c)->handle;
    return MPI_SUCCESS;
}

/* Members of the group alone: the first of them tells the others. */
int MPI_Comm_create_group(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    struct group *g = mpi_group(group);
    CHECK(c, g, MPI_ERR_GROUP);
    int me = mpi_rank_in(g, mpi_rank), context = me == 0 ? mpi_new_context() : 0;
    *made = MPI_COMM_NULL;
    if (me == MPI_UNDEFINED)
        return MPI_SUCCESS;
    tag = 1 << 29 | tag;
    for (int i = 1; me == 0 && i < g->size; i++)
        mpi_send(&context, 1, MPI_INT, mpi_rank_in(c->group, g->world[i]), tag, c);
    if (me != 0)
        mpi_receive(&context, 1, MPI_INT, mpi_rank_in(c->group, g->world[0]), tag, c);
    *made = mpi_make_comm(g, context, c)->handle;
    return MPI_SUCCESS;
}

struct member {
    int color, key, world;
};

/* The members of one color, by key and then by rank. */
static struct group *members_of(const struct member *members, int count, int color)
{
    struct group *group = mpi_make_group(count);
    int keys[RANKS_MAX];
    group->size = 0;
    for (int i = 0; i < count; i++) {
        if (members[i].color != color)
            continue;
        int at = group->size++;
        for (; at > 0 && keys[at - 1] > members[i].key; at--) {
            keys[at] = keys[at - 1];
            group->world[at] = group->world[at - 1];
        }
        keys[at] = members[i].key;
        group->world[at] = members[i].world;
    }
    return group;
}

int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *made)
{
    COMMUNICATOR(c, comm);
    CHECK(c, color >= 0 || color == MPI_UNDEFINED, MPI_ERR_ARG);
    struct member mine = {color, key, mpi_rank}, members[RANKS_MAX];
    struct communicator *local = c->local ? c->local : c;
    mpi_allgather(&mine, members, 3, MPI_INT, local);
    if (c->local)
        return mpi_split_inter(c, color, members_of(members, c->size, color), &mine, made);
    int context = mpi_agree_on_context(c);
    *made = MPI_COMM_NULL;
    if (color == MPI_UNDEFINED)
        return MPI_SUCCESS;
    struct group *group = members_of(members, c->size, color);
    *made = mpi_make_comm(group, context, c)->handle;
    mpi_release_group(group);
    return MPI_SUCCESS;
}

struct group *mpi_members_of(const void *members, int count, int color)
{
    return members_of(members, count, color);
}

int MPI_Comm_split_type(MPI_Comm comm, int kind, int key, MPI_Info info, MPI_Comm *made)
{
    (void)info;
    return MPI_Comm_split(comm, kind == MPI_UNDEFINED ? kind : 0, key, made);
}

int MPI_Comm_free(MPI_Comm *comm)
{
    COMMUNICATOR(c, *comm);
    CHECK(c, *comm != MPI_COMM_WORLD && *comm != MPI_COMM_SELF, MPI_ERR_COMM);
    int result = mpi_delete_attributes(*comm, &c->attributes);
    CHECK(c, result == MPI_SUCCESS, result);
    mpi_table_remove(&mpi_comms, *comm);
    mpi_release_comm(c);
    *comm = MPI_COMM_NULL;
    return MPI_SUCCESS;
}

int MPI_Comm_disconnect(MPI_Comm *comm)
{
    return MPI_Comm_free(comm);
}

int MPI_Comm_set_name(MPI_Comm comm, const char *name)
{
    COMMUNICATOR(c, comm);
    mpi_copy_text(c->name, name, NAME_SIZE, NULL);
    return MPI_SUCCESS;
}

int MPI_Comm_get_name(MPI_Comm comm, char *name, int *length)
{
    COMMUNICATOR(c, comm);
    mpi_copy_text(name, c->name, NAME_SIZE, length);
    return MPI_SUCCESS;
}

int MPI_Comm_set_info(MPI_Comm comm, MPI_Info info)
{
    COMMUNICATOR(c, comm);
    (void)c, (void)info;
    return MPI_SUCCESS;
}

int MPI_Comm_get_info(MPI_Comm comm, MPI_Info *info)
{
    COMMUNICATOR(c, comm);
    (void)c;
    return MPI_Info_create(info);
}

int MPI_Comm_get_parent(MPI_Comm *parent)
{
    *parent = MPI_COMM_NULL;
    return MPI_SUCCESS;
}

int MPI_Comm_test_inter(MPI_Comm comm, int *flag)
{
    COMMUNICATOR(c, comm);
    *flag = c->local != NULL;
    return MPI_SUCCESS;
}

int MPI_Comm_remote_size(MPI_Comm comm, int *size)
{
    COMMUNICATOR(c, comm);
    CHECK(c, c->local, MPI_ERR_COMM);
    *size = c->remote_size;
    return MPI_SUCCESS;
}

int MPI_Comm_remote_group(MPI_Comm comm, MPI_Group *group)
{
    COMMUNICATOR(c, comm);
    CHECK(c, c->local, MPI_ERR_COMM);
    c->remote->references++;
    *group = mpi_add_group(c->remote);
    return MPI_SUCCESS;
}
