/* The relatives of MPI_Send (now.c). */
#include "internal.h"

static char *attached; /* for MPI_Bsend; messages have buffers of their own, this is only kept */
static int attached_size;

static int check(const void *data, int count, const struct type *type, int peer, int tag, const struct communicator *c)
{
    if (!c)
        return MPI_ERR_COMM;
    if (count < 0)
        return MPI_ERR_COUNT;
    if (tag < 0)
        return MPI_ERR_TAG;
    if (peer == MPI_PROC_NULL)
        return MPI_SUCCESS;
    if (peer < 0 || peer >= c->remote_size)
        return MPI_ERR_RANK;
    if (!type)
        return MPI_ERR_TYPE;
    return mpi_lacks(data, count, type) ? MPI_ERR_BUFFER : MPI_SUCCESS;
}

/* Checks the arguments and describes the send. True: it is to be started. */
static bool describe(struct mpi_request *request, const void *data, int count, MPI_Datatype type, int peer, int tag,
                     MPI_Comm comm, enum send_mode mode, const char *call, int *result)
{
    struct communicator *c = mpi_comm(comm);
    *result = check(data, count, mpi_type(type), peer, tag, c);
    if (*result) {
        *result = mpi_fail(c, call, *result);
        return false;
    }
    *request = (struct mpi_request){.kind = peer == MPI_PROC_NULL ? NOTHING : SEND, .mode = mode, .complete = true,
                                    .comm = c, .data = (void *)data, .count = count, .type = mpi_type(type), .peer = peer,
                                    .tag = tag,
                                    .status = {.MPI_SOURCE = MPI_PROC_NULL, .MPI_TAG = MPI_ANY_TAG}};
    return peer != MPI_PROC_NULL;
}

static int send(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, enum send_mode mode,
                const char *call)
{
    struct mpi_request request;
    int result;
    if (describe(&request, data, count, type, peer, tag, comm, mode, call, &result)) {
        mpi_start_send(&request, request.comm->context, tag);
        mpi_wait(&request);
    }
    return result;
}

int mpi_send_later(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, const char *call)
{
    return send(data, count, type, peer, tag, comm, STANDARD, call);
}

static int isend(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, enum send_mode mode,
                 const char *call, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    int result;
    bool start = describe(made, data, count, type, peer, tag, comm, mode, call, &result);
    if (result) {
        toro_release(made);
        return result;
    }
    mpi_hold_type(made->type);
    made->active = true;
    if (start)
        mpi_start_send(made, made->comm->context, tag);
    *request = made;
    return MPI_SUCCESS;
}

static int send_init(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                     enum send_mode mode, const char *call, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    int result;
    describe(made, data, count, type, peer, tag, comm, mode, call, &result);
    if (result) {
        toro_release(made);
        return result;
    }
    mpi_hold_type(made->type);
    made->persistent = true;
    *request = made;
    return MPI_SUCCESS;
}

#define WAITS(name, mode)                                                                                              \
    int name(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm)                         \
    {                                                                                                                  \
        return send(data, count, type, peer, tag, comm, mode, __func__);                                               \
    }
#define BEGINS(iname, init_name, mode)                                                                                 \
    int iname(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request)  \
    {                                                                                                                  \
        return isend(data, count, type, peer, tag, comm, mode, __func__, request);                                     \
    }                                                                                                                  \
    int init_name(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,                    \
                  MPI_Request *request)                                                                                \
    {                                                                                                                  \
        return send_init(data, count, type, peer, tag, comm, mode, __func__, request);                                 \
    }

WAITS(MPI_Ssend, SYNCHRONOUS)
WAITS(MPI_Bsend, BUFFER)
WAITS(MPI_Rsend, STANDARD)
BEGINS(MPI_Isend, MPI_Send_init, STANDARD)
BEGINS(MPI_Issend, MPI_Ssend_init, SYNCHRONOUS)
BEGINS(MPI_Ibsend, MPI_Bsend_init, BUFFER)
BEGINS(MPI_Irsend, MPI_Rsend_init, STANDARD)

int MPI_Buffer_attach(void *buffer, int size)
{
    CHECK(NULL, size >= 0, MPI_ERR_ARG);
    CHECK(NULL, !attached, MPI_ERR_BUFFER);
    attached = buffer;
    attached_size = size;
    return MPI_SUCCESS;
}

int MPI_Buffer_detach(void *buffer, int *size)
{
    *(void **)buffer = attached;
    *size = attached_size;
    attached = NULL;
    attached_size = 0;
    return MPI_SUCCESS;
}
