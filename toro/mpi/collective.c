/* How collective operations run: at once, or begun as activities. Each has a number on its
 * communicator, the tag of its messages. */
#include "internal.h"

int mpi_perform(struct collective *what)
{
    what->tag = mpi_next_tag(what->comm);
    int result = what->run(what);
    return result ? mpi_fail(what->comm, what->call, result) : MPI_SUCCESS;
}

static void begin(const struct collective *what, struct mpi_request *request, int tag)
{
    struct collective copy = *what;
    copy.tag = tag;
    copy.request = request;
    mpi_start_activity(&copy);
}

int mpi_begin(const struct collective *what, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    *made = (struct mpi_request){.kind = COLLECTIVE, .active = true, .comm = what->comm};
    begin(what, made, mpi_next_tag(what->comm));
    *request = made;
    return MPI_SUCCESS;
}

int mpi_begin_untagged(const struct collective *what, MPI_Request *request)
{
    int result = mpi_begin(what, request);
    what->comm->sequence--;
    return result;
}

int mpi_prepare(const struct collective *what, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    *made = (struct mpi_request){.kind = COLLECTIVE, .persistent = true, .complete = true, .comm = what->comm,
                                 .prepared = mpi_memory(sizeof *what)};
    *made->prepared = *what;
    made->prepared->tag = mpi_next_tag(what->comm); /* ranks may start them in any order */
    *request = made;
    return MPI_SUCCESS;
}

void mpi_restart(struct mpi_request *request)
{
    request->complete = false;
    begin(request->prepared, request, request->prepared->tag);
}

/* ---- For use within MPI ---- */

int mpi_barrier(struct communicator *comm)
{
    return mpi_perform(&(struct collective){.call = "MPI_Barrier", .run = mpi_run_barrier, .comm = comm});
}

int mpi_bcast(void *data, MPI_Count count, MPI_Datatype type, int root, struct communicator *comm)
{
    return mpi_perform(&(struct collective){.call = "MPI_Bcast", .run = mpi_run_bcast, .comm = comm, .receive = data,
                                            .receive_count = count, .receive_type = type, .root = root});
}

int mpi_allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation,
                  struct communicator *comm)
{
    return mpi_perform(&(struct collective){.call = "MPI_Allreduce", .run = mpi_run_allreduce, .comm = comm,
                                            .send = send, .receive = receive, .receive_count = count,
                                            .receive_type = type, .operation = operation});
}

int mpi_allgather(const void *send, void *receive, int count, MPI_Datatype type, struct communicator *comm)
{
    return mpi_perform(&(struct collective){.call = "MPI_Allgather", .run = mpi_run_allgather, .comm = comm,
                                            .send = send, .send_count = count, .send_type = type, .receive = receive,
                                            .receive_count = count, .receive_type = type});
}
