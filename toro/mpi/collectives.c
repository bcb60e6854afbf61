/* The collective operations of MPI (MPI 3.1, chapter 5): each in the form that waits and the one
 * that begins. */
#include "internal.h"

/* The first mistake in what they have in common. */
static int check(const struct collective *c, bool rooted, bool reduces)
{
    struct communicator *comm = c->comm;
    if (!comm)
        return MPI_ERR_COMM;
    if (rooted && comm->local) {
        if (c->root != MPI_ROOT && c->root != MPI_PROC_NULL && (c->root < 0 || c->root >= comm->remote_size))
            return MPI_ERR_ROOT;
    } else if (rooted && (c->root < 0 || c->root >= comm->size))
        return MPI_ERR_ROOT;
    bool sends = !rooted || c->root != MPI_PROC_NULL;
    if (sends && ((c->send != MPI_IN_PLACE && c->send_count < 0) || c->receive_count < 0))
        return MPI_ERR_COUNT;
    if (sends && ((!c->send_types && c->send != MPI_IN_PLACE && !mpi_type(c->send_type)) ||
                  (!c->receive_types && !mpi_type(c->receive_type))))
        return MPI_ERR_TYPE;
    if (sends && !c->send_types && c->send != MPI_IN_PLACE && mpi_lacks(c->send, c->send_count, mpi_type(c->send_type)))
        return MPI_ERR_BUFFER;
    if (sends && !c->receive_types && c->run == mpi_run_bcast &&
        mpi_lacks(c->receive, c->receive_count, mpi_type(c->receive_type)))
        return MPI_ERR_BUFFER;
    if (reduces && sends && !mpi_can_combine(c->operation, c->receive_type))
        return MPI_ERR_OP;
    return MPI_SUCCESS;
}

enum form { WAIT, BEGIN, PREPARE };

static int go(struct collective *c, bool rooted, bool reduces, enum form form, MPI_Request *request)
{
    int result = check(c, rooted, reduces);
    if (result)
        return mpi_fail(c->comm, c->call, result);
    if (form == WAIT)
        return mpi_perform(c);
    return form == BEGIN ? mpi_begin(c, request) : mpi_prepare(c, request);
}

#define WHAT_AT(function, large)                                                                                       \
    .call = __func__, .run = (function), .comm = mpi_comm(comm), .large_counts = sizeof(COUNT) > sizeof(int),          \
    .large_offsets = (large)
#define WHAT(function) WHAT_AT(function, sizeof(PLACE) > sizeof(int))
#define SAME(...) (__VA_ARGS__)

/* Defines an operation in its three forms: MPI_Bcast, MPI_Ibcast, MPI_Bcast_init. `side` makes the
 * same of what a rank gives, whatever it is in the operation; `shortly` does it, if it is short. */
#define DEFINE(name, iname, side, rooted, reduces, parameters, ...)                                                    \
    DEFINE_SHORT(name, iname, side, rooted, reduces, NOT_SHORT, parameters, __VA_ARGS__)
#define DEFINE_SHORT(name, iname, side, rooted, reduces, shortly, parameters, ...)                                     \
    int NAME(name)(UNWRAP parameters)                                                                                  \
    {                                                                                                                  \
        int result = shortly;                                                                                          \
        if (result != NOT_SHORT)                                                                                       \
            return result;                                                                                             \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, WAIT, NULL);                               \
    }                                                                                                                  \
    int NAME(iname)(UNWRAP parameters, MPI_Request *request)                                                           \
    {                                                                                                                  \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, BEGIN, request);                           \
    }                                                                                                                  \
    int NAME(name##_init)(UNWRAP parameters, MPI_Info info, MPI_Request *request)                                      \
    {                                                                                                                  \
        (void)info;                                                                                                    \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, PREPARE, request);                         \
    }

#define UNWRAP(...) __VA_ARGS__

/* Gather and scatter have one side at the root, and the other everywhere: what does not count is not looked at. */
static struct collective *gather(struct collective *c)
{
    bool root = c->comm && (c->comm->local ? c->root == MPI_ROOT : c->root == c->comm->rank);
    if (!root) {
        c->receive_type = c->send_type;
        c->receive_count = 0;
    } else if (c->comm->local || c->send == MPI_IN_PLACE) {
        c->send_type = c->receive_type;
        c->send_count = 0;
    }
    return c;
}

static struct collective *scatter(struct collective *c)
{
    bool root = c->comm && (c->comm->local ? c->root == MPI_ROOT : c->root == c->comm->rank);
    if (!root) {
        c->send_type = c->receive_type;
        c->send_count = 0;
    } else if (c->comm->local || c->receive == MPI_IN_PLACE) {
        c->receive_type = c->send_type;
        c->receive_count = 0;
    }
    return c;
}

#define NAME(name) name
#define COUNT int
#define PLACE int
DEFINE_SHORT(MPI_Barrier, MPI_Ibarrier, SAME, false, false, mpi_short_barrier(comm), (MPI_Comm comm),
             WHAT(mpi_run_barrier))
#include "collectives.h"

#define NAME(name) name##_c
#define COUNT MPI_Count
#define PLACE MPI_Aint
#include "collectives.h"
