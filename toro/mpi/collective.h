/* Collective operations. Part of internal.h. */
#ifndef MPI_COLLECTIVE_H
#define MPI_COLLECTIVE_H

/* ---- collective.c ---- */

struct collective {
    const char *call;
    int (*run)(struct collective *);
    struct communicator *comm;
    int tag;
    const void *send;
    void *receive;
    MPI_Count send_count, receive_count;
    MPI_Datatype send_type, receive_type;
    const void *send_counts, *send_offsets, *receive_counts, *receive_offsets; /* mpi_number knows of which type */
    bool large_counts, large_offsets;
    const MPI_Datatype *send_types, *receive_types;
    MPI_Op operation;
    int root;
    bool exclusive; /* of scans */
    struct mpi_request *pair[2]; /* of MPI_Isendrecv */
    struct mpi_request *request;
};

/* One of an array of MPI_Count or MPI_Aint, or of int. */
static inline MPI_Count mpi_number(const void *numbers, int index, bool large)
{
    return large ? ((const MPI_Count *)numbers)[index] : ((const int *)numbers)[index];
}

/* What goes to another rank, or to a neighbour, or comes from there. */
struct share {
    void *data;
    MPI_Count count;
    MPI_Datatype type;
};
struct share mpi_outgoing(const struct collective *c, int index);
struct share mpi_incoming(const struct collective *c, int index);

static inline int mpi_next_tag(struct communicator *comm)
{
    return comm->sequence++ & 0x3fffffff;
}

/* Runs a collective operation, or begins it. */
int mpi_perform(struct collective *what);
int mpi_begin(const struct collective *what, MPI_Request *request);
/* The same for an operation that is not collective, and takes no number. */
int mpi_begin_untagged(const struct collective *what, MPI_Request *request);
/* Makes a persistent request of it, which mpi_restart begins. */
int mpi_prepare(const struct collective *what, MPI_Request *request);
void mpi_restart(struct mpi_request *request);
int mpi_barrier(struct communicator *comm);
int mpi_bcast(void *data, MPI_Count count, MPI_Datatype type, int root, struct communicator *comm);
int mpi_allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation,
                  struct communicator *comm);
int mpi_allgather(const void *send, void *receive, int count, MPI_Datatype type, struct communicator *comm);
int mpi_run_barrier(struct collective *c);
int mpi_run_bcast(struct collective *c);
int mpi_run_gather(struct collective *c);
int mpi_run_scatter(struct collective *c);
int mpi_run_allgather(struct collective *c);
int mpi_run_alltoall(struct collective *c);
int mpi_run_reduce(struct collective *c);
int mpi_run_allreduce(struct collective *c);
int mpi_run_reduce_scatter(struct collective *c);
int mpi_run_scan(struct collective *c);
int mpi_run_neighbor_allgather(struct collective *c);
int mpi_run_neighbor_alltoall(struct collective *c);

/* ---- short.c ---- */

#define NOT_SHORT (-1) /* the operation has not begun, and goes the other way */

int mpi_short_barrier(MPI_Comm comm);
int mpi_short_allreduce(const void *data, void *target, MPI_Count count, MPI_Datatype type, MPI_Op operation,
                        MPI_Comm comm);
int mpi_short_alltoall(const void *data, MPI_Count count, MPI_Datatype type, void *target, MPI_Count target_count,
                       MPI_Datatype target_type, MPI_Comm comm);

/* ---- activity.c ---- */

extern int mpi_activities; /* how many */
extern bool mpi_activity_polls; /* one of them does */
void mpi_start_activity(const struct collective *what);
void mpi_resume_activities(void);
/* Waits within an activity; `polls`: for what nobody wakes this rank for. False: this is none. */
bool mpi_pause_activity(bool polls);

#endif
