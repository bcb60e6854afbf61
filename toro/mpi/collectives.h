/* Definitions for collectives.c, of the operations whose counts are COUNT and whose offsets are PLACE.
 * NAME makes the name. */

#define BCAST void *data, COUNT count, MPI_Datatype type, int root, MPI_Comm comm
DEFINE(MPI_Bcast, MPI_Ibcast, SAME, true, false, (BCAST),
       WHAT(mpi_run_bcast), .receive = data,
     .receive_count = count, .receive_type = type, .root = root)

#define GATHER                                                                                                         \
    const void *send, COUNT send_count, MPI_Datatype send_type, void *receive, COUNT receive_count,                    \
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
    const void *send, COUNT send_count, MPI_Datatype send_type, void *receive, const COUNT receive_counts[],           \
        const PLACE offsets[], MPI_Datatype receive_type, int root, MPI_Comm comm
DEFINE(MPI_Gatherv, MPI_Igatherv, gather, true, false, (GATHERV),
       WHAT(mpi_run_gather), .send = send,
       .send_count = send_count, .send_type = send_type, .receive = receive, .receive_counts = receive_counts,
       .receive_offsets = offsets, .receive_type = receive_type, .root = root)

#define SCATTERV                                                                                                       \
    const void *send, const COUNT send_counts[], const PLACE offsets[], MPI_Datatype send_type, void *receive,         \
        COUNT receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm
DEFINE(MPI_Scatterv, MPI_Iscatterv, scatter, true, false, (SCATTERV),
       WHAT(mpi_run_scatter), .send = send,
       .send_counts = send_counts, .send_offsets = offsets, .send_type = send_type, .receive = receive,
       .receive_count = receive_count, .receive_type = receive_type, .root = root)

#define ALLGATHER                                                                                                      \
    const void *send, COUNT send_count, MPI_Datatype send_type, void *receive, COUNT receive_count,                    \
        MPI_Datatype receive_type, MPI_Comm comm
#define ALLGATHER_VALUES                                                                                               \
    .send = send, .send_count = send_count, .send_type = send_type, .receive = receive,                                \
    .receive_count = receive_count, .receive_type = receive_type
DEFINE(MPI_Allgather, MPI_Iallgather, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_allgather),
     ALLGATHER_VALUES)
DEFINE_SHORT(MPI_Alltoall, MPI_Ialltoall, SAME, false, false,
             mpi_short_alltoall(send, send_count, send_type, receive, receive_count, receive_type, comm), (ALLGATHER),
             WHAT(mpi_run_alltoall), ALLGATHER_VALUES)
DEFINE(MPI_Neighbor_allgather, MPI_Ineighbor_allgather, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_neighbor_allgather), ALLGATHER_VALUES)
DEFINE(MPI_Neighbor_alltoall, MPI_Ineighbor_alltoall, SAME, false, false, (ALLGATHER),
       WHAT(mpi_run_neighbor_alltoall), ALLGATHER_VALUES)

#define ALLGATHERV                                                                                                     \
    const void *send, COUNT send_count, MPI_Datatype send_type, void *receive, const COUNT receive_counts[],           \
        const PLACE offsets[], MPI_Datatype receive_type, MPI_Comm comm
DEFINE(MPI_Allgatherv, MPI_Iallgatherv, SAME, false, false, (ALLGATHERV),
       WHAT(mpi_run_allgather),
     .send = send, .send_count = send_count, .send_type = send_type, .receive = receive,
     .receive_counts = receive_counts, .receive_offsets = offsets, .receive_type = receive_type)

#define ALLTOALLV                                                                                                      \
    const void *send, const COUNT send_counts[], const PLACE send_offsets[], MPI_Datatype send_type, void *receive,    \
        const COUNT receive_counts[], const PLACE receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm
DEFINE(MPI_Alltoallv, MPI_Ialltoallv, SAME, false, false, (ALLTOALLV),
       WHAT(mpi_run_alltoall),
     .send = send, .send_counts = send_counts, .send_offsets = send_offsets, .send_type = send_type,
     .receive = receive, .receive_counts = receive_counts, .receive_offsets = receive_offsets,
     .receive_type = receive_type)

#define ALLTOALLW                                                                                                      \
    const void *send, const COUNT send_counts[], const PLACE send_offsets[], const MPI_Datatype send_types[],          \
        void *receive, const COUNT receive_counts[], const PLACE receive_offsets[], const MPI_Datatype receive_types[],\
        MPI_Comm comm
DEFINE(MPI_Alltoallw, MPI_Ialltoallw, SAME, false, false, (ALLTOALLW),
       WHAT(mpi_run_alltoall),
     .send = send, .send_counts = send_counts, .send_offsets = send_offsets, .send_types = send_types,
     .receive = receive, .receive_counts = receive_counts, .receive_offsets = receive_offsets,
     .receive_types = receive_types)

#define REDUCE_VALUES                                                                                                  \
    .send = send, .receive = receive, .receive_count = count, .send_type = type, .receive_type = type,                 \
    .operation = operation
#define REDUCE const void *send, void *receive, COUNT count, MPI_Datatype type, MPI_Op operation, int root, MPI_Comm comm
DEFINE(MPI_Reduce, MPI_Ireduce, SAME, true, true, (REDUCE),
       WHAT(mpi_run_reduce), REDUCE_VALUES,
     .root = root)

#define ALLREDUCE const void *send, void *receive, COUNT count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm
DEFINE_SHORT(MPI_Allreduce, MPI_Iallreduce, SAME, false, true,
             mpi_short_allreduce(send, receive, count, type, operation, comm), (ALLREDUCE), WHAT(mpi_run_allreduce),
             REDUCE_VALUES)
DEFINE(MPI_Reduce_scatter_block, MPI_Ireduce_scatter_block, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_reduce_scatter), REDUCE_VALUES)
DEFINE(MPI_Scan, MPI_Iscan, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_scan), REDUCE_VALUES)
DEFINE(MPI_Exscan, MPI_Iexscan, SAME, false, true, (ALLREDUCE),
       WHAT(mpi_run_scan), REDUCE_VALUES,
     .exclusive = true)

#define REDUCE_SCATTER                                                                                                 \
    const void *send, void *receive, const COUNT counts[], MPI_Datatype type, MPI_Op operation, MPI_Comm comm
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
    const void *send, const COUNT send_counts[], const MPI_Aint send_offsets[], const MPI_Datatype send_types[],       \
        void *receive, const COUNT receive_counts[], const MPI_Aint receive_offsets[],                                 \
        const MPI_Datatype receive_types[], MPI_Comm comm
DEFINE(MPI_Neighbor_alltoallw, MPI_Ineighbor_alltoallw, SAME, false, false, (NEIGHBORW),
       WHAT_AT(mpi_run_neighbor_alltoall, true), .send = send, .send_counts = send_counts, .send_offsets = send_offsets,
       .send_types = send_types, .receive = receive, .receive_counts = receive_counts,
       .receive_offsets = receive_offsets, .receive_types = receive_types)

#undef NAME
#undef COUNT
#undef PLACE
