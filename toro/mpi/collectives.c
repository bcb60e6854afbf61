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

#define WHAT(function) .call = __func__, .run = (function), .comm = mpi_comm(comm)
#define SAME(...) (__VA_ARGS__)

/* Defines an operation in its three forms: MPI_Bcast, MPI_Ibcast, MPI_Bcast_init. `side` makes the
 * same of what a rank gives, whatever it is in the operation. */
#define DEFINE(name, iname, side, rooted, reduces, parameters, ...)                                                    \
    int name(UNWRAP parameters)                                                                                        \
    {                                                                                                                  \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, WAIT, NULL);                                \
    }                                                                                                                  \
    int iname(UNWRAP parameters, MPI_Request *request)                                                                 \
    {                                                                                                                  \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, BEGIN, request);                            \
    }                                                                                                                  \
    int name##_init(UNWRAP parameters, MPI_Info info, MPI_Request *request)                                            \
    {                                                                                                                  \
        (void)info;                                                                                                    \
        return go(side(&(struct collective){__VA_ARGS__}), rooted, reduces, PREPARE, request);                          \
    }

#define UNWRAP(...) __VA_ARGS__

DEFINE(MPI_Barrier, MPI_Ibarrier, SAME, false, false, (MPI_Comm comm),
       WHAT(mpi_run_barrier))

#define BCAST void *data, int count, MPI_Datatype type, int root, MPI_Comm comm
DEFINE(MPI_Bcast, MPI_Ibcast, SAME, true, false, (BCAST),
       WHAT(mpi_run_bcast), .receive = data,
     .receive_count = count, .receive_type = type, .root = root)

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

#define GATHER                                                                                                         \
    const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,                        \
        MPI_Datatype receive_type, int root, MPI_Comm comm
DEFINE(MPI_Gather, MPI_Igather, gather, true, false, (GATHER),
       WHAT(mpi_run_gather), .send = send,
       .send_count = send_count, .send_type = send_type, .receive = receive, .receive_count = receive_count,
       .receive_type = receive_type, .root = root)
DEFINE(MPI_Scatter, MPI_Iscatter, scatter, true, false, (GATHER),
       WHAT(mpi_run_scatter), .send = send,
       .send_count = send_count, .send_type = send_type, .receive = receive, .receive_count = receive_count,
       .receive_type = receive_type, .root = root)

#define GATHERV                                                                                                        \
    const void *send, int send_count, MPI_Datatype send_type, void *receive, const int receive_counts[],               \
        const int offsets[], MPI_Datatype receive_type, int root, MPI_Comm comm
DEFINE(MPI_Gatherv, MPI_Igatherv, gather, true, false, (GATHERV),
       WHAT(mpi_run_gather), .send = send,
       .send_count = send_count, .send_type = send_type, .receive = receive, .receive_counts = receive_counts,
       .receive_offsets = offsets, .receive_type = receive_type, .root = root)

#define SCATTERV                                                                                                       \
    const void *send, const int send_counts[], const int offsets[], MPI_Datatype send_type, void *receive,             \
        int receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm
DEFINE(MPI_Scatterv, MPI_Iscatterv, scatter, true, false, (SCATTERV),
       WHAT(mpi_run_scatter), .send = send,
       .send_counts = send_counts, .send_offsets = offsets, .send_type = send_type, .receive = receive,
       .receive_count = receive_count, .receive_type = receive_type, .root = root)

#define ALLGATHER                                                                                                      \
    const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,                        \
        MPI_Datatype receive_type, MPI_Comm comm
#define ALLGATHER_VALUES                                                                                               \
    .send = send, .send_count = send_count, .send_type = send_type, .receive = receive,                                \
    .receive_count = receive_count, .receive_type = receive_type
DEFINE(MPI_Allgather, MPI_Iallgather, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_allgather),
     ALLGATHER_VALUES)
DEFINE(MPI_Alltoall, MPI_Ialltoall, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_alltoall),
     ALLGATHER_VALUES)
DEFINE(MPI_Neighbor_allgather, MPI_Ineighbor_allgather, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_neighbor_allgather), ALLGATHER_VALUES)
DEFINE(MPI_Neighbor_alltoall, MPI_Ineighbor_alltoall, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_neighbor_alltoall), ALLGATHER_VALUES)

#define ALLGATHERV                                                                                                     \
    const void *send, int send_count, MPI_Datatype send_type, void *receive, const int receive_counts[],               \
        const int offsets[], MPI_Datatype receive_type, MPI_Comm comm
DEFINE(MPI_Allgatherv, MPI_Iallgatherv, SAME, false, false, (ALLGATHERV),
       WHAT(mpi_run_allgather),
     .send = send, .send_count = send_count, .send_type = send_type, .receive = receive,
     .receive_counts = receive_counts, .receive_offsets = offsets, .receive_type = receive_type)

#define ALLTOALLV                                                                                                      \
    const void *send, const int send_counts[], const int send_offsets[], MPI_Datatype send_type, void *receive,        \
        const int receive_counts[], const int receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm
DEFINE(MPI_Alltoallv, MPI_Ialltoallv, SAME, false, false, (ALLTOALLV),
       WHAT(mpi_run_alltoall),
     .send = send, .send_counts = send_counts, .send_offsets = send_offsets, .send_type = send_type,
     .receive = receive, .receive_counts = receive_counts, .receive_offsets = receive_offsets,
     .receive_type = receive_type)

#define ALLTOALLW                                                                                                      \
    const void *send, const int send_counts[], const int send_offsets[], const MPI_Datatype send_types[],              \
        void *receive, const int receive_counts[], const int receive_offsets[], const MPI_Datatype receive_types[],    \
        MPI_Comm comm
DEFINE(MPI_Alltoallw, MPI_Ialltoallw, SAME, false, false, (ALLTOALLW),
       WHAT(mpi_run_alltoall),
     .send = send, .send_counts = send_counts, .send_offsets = send_offsets, .send_types = send_types,
     .receive = receive, .receive_counts = receive_counts, .receive_offsets = receive_offsets,
     .receive_types = receive_types)

#define REDUCE_VALUES                                                                                                  \
    .send = send, .receive = receive, .receive_count = count, .send_type = type, .receive_type = type,                 \
    .operation = operation
#define REDUCE const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, int root, MPI_Comm comm
DEFINE(MPI_Reduce, MPI_Ireduce, SAME, true, true, (REDUCE),
       WHAT(mpi_run_reduce), REDUCE_VALUES,
     .root = root)

#define ALLREDUCE const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm
DEFINE(MPI_Allreduce, MPI_Iallreduce, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_allreduce),
     REDUCE_VALUES)
DEFINE(MPI_Reduce_scatter_block, MPI_Ireduce_scatter_block, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_reduce_scatter), REDUCE_VALUES)
DEFINE(MPI_Scan, MPI_Iscan, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_scan), REDUCE_VALUES)
DEFINE(MPI_Exscan, MPI_Iexscan, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_scan), REDUCE_VALUES,
     .exclusive = true)

#define REDUCE_SCATTER                                                                                                 \
    const void *send, void *receive, const int counts[], MPI_Datatype type, MPI_Op operation, MPI_Comm comm
DEFINE(MPI_Reduce_scatter, MPI_Ireduce_scatter, SAME, false, true, (REDUCE_SCATTER),
       WHAT(mpi_run_reduce_scatter), .send = send, .receive = receive, .receive_counts = counts, .send_type = type,
     .receive_type = type, .operation = operation)

DEFINE(MPI_Neighbor_allgatherv, MPI_Ineighbor_allgatherv, SAME, false, false, (ALLGATHERV),
       WHAT(mpi_run_neighbor_allgather), .send = send, .send_count = send_count, .send_type = send_type,
       .receive = receive, .receive_counts = receive_counts, .receive_offsets = offsets, .receive_type = receive_type)
DEFINE(MPI_Neighbor_alltoallv, MPI_Ineighbor_alltoallv, SAME, false, false, (ALLTOALLV),
       WHAT(mpi_run_neighbor_alltoall), .send = send, .send_counts = send_counts, .send_offsets = send_offsets,
       .send_type = send_type, .receive = receive, .receive_counts = receive_counts,
       .receive_offsets = receive_offsets, .receive_type = receive_type)

/* With offsets that are addresses. */
#define NEIGHBORW                                                                                                      \
    const void *send, const int send_counts[], const MPI_Aint send_offsets[], const MPI_Datatype send_types[],         \
        void *receive, const int receive_counts[], const MPI_Aint receive_offsets[],                                   \
        const MPI_Datatype receive_types[], MPI_Comm comm
DEFINE(MPI_Neighbor_alltoallw, MPI_Ineighbor_alltoallw, SAME, false, false, (NEIGHBORW),
       WHAT(mpi_run_neighbor_alltoall), .send = send, .send_counts = send_counts, .send_places = send_offsets,
       .send_types = send_types, .receive = receive, .receive_counts = receive_counts,
       .receive_places = receive_offsets, .receive_types = receive_types)
