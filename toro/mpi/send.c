/* The relatives of MPI_Send (now.c). */
#include "internal.h"

static char *attached; /* for MPI_Bsend; messages have buffers of their own, this is only kept */
static MPI_Count attached_size;

static int check(const void *data, MPI_Count count, const struct type *type, int peer, int tag, const struct communicator *c)
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
static bool describe(struct mpi_request *request, const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag,
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

static int send(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, enum send_mode mode,
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

int mpi_send_later(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, const char *call)
{
    return send(data, count, type, peer, tag, comm, STANDARD, call);
}

static int isend(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, enum send_mode mode,
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

static int send_init(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
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

#define WAITS_FOR(name, COUNT, mode)                                                                                   \
    int name(const void *data, COUNT count, MPI_Datatype type, int peer, int tag, MPI_Comm comm)                       \
    {                                                                                                                  \
        return send(data, count, type, peer, tag, comm, mode, __func__);                                               \
    }
#define BEGINS_FOR(name, COUNT, mode)                                                                                  \
    int name(const void *data, COUNT count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request) \
    {                                                                                                                  \
        return isend(data, count, type, peer, tag, comm, mode, __func__, request);                                     \
    }
#define PREPARES_FOR(name, COUNT, mode)                                                                                \
    int name(const void *data, COUNT count, MPI_Datatype type, int peer, int tag, MPI_Comm comm, MPI_Request *request) \
    {                                                                                                                  \
        return send_init(data, count, type, peer, tag, comm, mode, __func__, request);                                 \
    }
#define BOTH(what, name, mode) what(name, int, mode) what(name##_c, MPI_Count, mode)

WAITS_FOR(MPI_Send_c, MPI_Count, STANDARD)
BOTH(WAITS_FOR, MPI_Ssend, SYNCHRONOUS)
BOTH(WAITS_FOR, MPI_Bsend, BUFFER)
BOTH(WAITS_FOR, MPI_Rsend, STANDARD)
BOTH(BEGINS_FOR, MPI_Isend, STANDARD)
BOTH(BEGINS_FOR, MPI_Issend, SYNCHRONOUS)
BOTH(BEGINS_FOR, MPI_Ibsend, BUFFER)
BOTH(BEGINS_FOR, MPI_Irsend, STANDARD)
BOTH(PREPARES_FOR, MPI_Send_init, STANDARD)
BOTH(PREPARES_FOR, MPI_Ssend_init, SYNCHRONOUS)
BOTH(PREPARES_FOR, MPI_Bsend_init, BUFFER)
BOTH(PREPARES_FOR, MPI_Rsend_init, STANDARD)

#define BUFFERS(attach, detach, COUNT)                                                                                 \
    int attach(void *buffer, COUNT size)                                                                               \
    {                                                                                                                  \
        CHECK(NULL, size >= 0, MPI_ERR_ARG);                                                                           \
        CHECK(NULL, !attached, MPI_ERR_BUFFER);                                                                        \
        attached = buffer;                                                                                             \
        attached_size = size;                                                                                          \
        return MPI_SUCCESS;                                                                                            \
    }                                                                                                                  \
    int detach(void *buffer, COUNT *size)                                                                              \
    {                                                                                                                  \
        *(void **)buffer = attached;                                                                                   \
        *size = attached_size;                                                                                         \
        attached = NULL;                                                                                               \
        attached_size = 0;                                                                                             \
        return MPI_SUCCESS;                                                                                            \
    }

BUFFERS(MPI_Buffer_attach, MPI_Buffer_detach, int)
BUFFERS(MPI_Buffer_attach_c, MPI_Buffer_detach_c, MPI_Count)
