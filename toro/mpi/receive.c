/* The relatives of MPI_Recv (now.c), and probes. */
#include "internal.h"

static const MPI_Status nothing = {.MPI_SOURCE = MPI_PROC_NULL, .MPI_TAG = MPI_ANY_TAG};

static int check(const struct communicator *c, int source, int tag)
{
    if (!c)
        return MPI_ERR_COMM;
    if (source != MPI_PROC_NULL && source != MPI_ANY_SOURCE && (source < 0 || source >= c->remote_size))
        return MPI_ERR_RANK;
    return tag < 0 && tag != MPI_ANY_TAG ? MPI_ERR_TAG : MPI_SUCCESS;
}

static int check_all(const struct communicator *c, const void *data, MPI_Count count, const struct type *type, int source,
                     int tag)
{
    int result = check(c, source, tag);
    if (result)
        return result;
    if (count < 0)
        return MPI_ERR_COUNT;
    if (source == MPI_PROC_NULL)
        return MPI_SUCCESS;
    if (!type)
        return MPI_ERR_TYPE;
    return mpi_lacks(data, count, type) ? MPI_ERR_BUFFER : MPI_SUCCESS;
}

/* Checks the arguments and describes the receive. True: it is to be started. */
static bool describe(struct mpi_request *request, void *data, MPI_Count count, MPI_Datatype type, int source, int tag,
                     MPI_Comm comm, const char *call, int *result)
{
    struct communicator *c = mpi_comm(comm);
    *result = check_all(c, data, count, mpi_type(type), source, tag);
    if (*result) {
        *result = mpi_fail(c, call, *result);
        return false;
    }
    *request = (struct mpi_request){.kind = source == MPI_PROC_NULL ? NOTHING : RECEIVE, .complete = true, .comm = c,
                                    .data = data, .count = count, .type = mpi_type(type), .peer = source, .tag = tag,
                                    .status = nothing};
    return source != MPI_PROC_NULL;
}

/* Fills a status, except its error, which only the calls for several requests set. */
static void tell(MPI_Status *status, const MPI_Status *from)
{
    if (!status)
        return;
    int error = status->MPI_ERROR;
    *status = *from;
    status->MPI_ERROR = error;
}

static int end(struct mpi_request *request, MPI_Status *status, const char *call)
{
    tell(status, &request->status);
    return request->error ? mpi_fail(request->comm, call, request->error) : MPI_SUCCESS;
}

int mpi_receive_later(void *data, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status *status,
                      const char *call)
{
    struct mpi_request request;
    int result;
    if (describe(&request, data, count, type, source, tag, comm, call, &result)) {
        mpi_start_receive(&request, request.comm->context, tag);
        mpi_wait(&request);
    }
    return result ? result : end(&request, status, call);
}

static int make(void *data, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm, const char *call,
                bool persistent, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    int result;
    bool start = describe(made, data, count, type, source, tag, comm, call, &result);
    if (result) {
        toro_release(made);
        return result;
    }
    mpi_hold_type(made->type);
    made->persistent = persistent;
    made->active = !persistent;
    if (start && !persistent)
        mpi_start_receive(made, made->comm->context, tag);
    *request = made;
    return MPI_SUCCESS;
}

static int exchange(const void *send, MPI_Count send_count, MPI_Datatype send_type, int destination, int send_tag,
                    void *receive, MPI_Count receive_count, MPI_Datatype receive_type, int source, int receive_tag,
                    MPI_Comm comm, MPI_Status *status, const char *call)
{
    struct mpi_request request;
    int result;
    if (describe(&request, receive, receive_count, receive_type, source, receive_tag, comm, call, &result))
        mpi_start_receive(&request, request.comm->context, receive_tag);
    if (result)
        return result;
    MPI_Request sending;
    result = MPI_Isend_c(send, send_count, send_type, destination, send_tag, comm, &sending);
    if (result) {
        mpi_withdraw(&request);
        return result;
    }
    mpi_wait(&request);
    mpi_wait(sending);
    mpi_free_request(sending);
    return end(&request, status, call);
}

static int replace(void *data, MPI_Count count, MPI_Datatype type, int destination, int send_tag, int source,
                   int receive_tag, MPI_Comm comm, MPI_Status *status, const char *call)
{
    struct communicator *c = mpi_comm(comm);
    struct type *t = mpi_type(type);
    if (!c || count < 0 || !t)
        return mpi_fail(c, call, !c ? MPI_ERR_COMM : count < 0 ? MPI_ERR_COUNT : MPI_ERR_TYPE);
    size_t size = t->size * count;
    void *copy = mpi_memory(size + 1);
    mpi_pack(data, count, t, copy);
    int result = exchange(copy, size, MPI_BYTE, destination, send_tag, data, count, type, source, receive_tag, comm,
                          status, call);
    toro_release(copy);
    return result;
}

/* MPI_Isendrecv of MPI 4: an activity waits for both, as for a collective operation. */
static int run_exchange(struct collective *c)
{
    mpi_wait(c->pair[0]);
    mpi_wait(c->pair[1]);
    int error = c->pair[0]->error;
    c->request->status = c->pair[0]->status;
    mpi_free_request(c->pair[0]);
    mpi_free_request(c->pair[1]);
    return error;
}

/* Begins to wait for both, if the first has been begun. */
static int begin_pair(int result, MPI_Request receiving, MPI_Request sending, MPI_Comm comm, const char *call,
                      MPI_Request *request)
{
    struct collective both = {.call = call, .run = run_exchange, .comm = mpi_comm(comm), .pair = {receiving, sending}};
    return result ? result : mpi_begin_untagged(&both, request);
}

static int receive_arrived(void *data, MPI_Count count, MPI_Datatype type, MPI_Message *message, const char *call,
                           MPI_Request *request)
{
    struct type *t = mpi_type(type);
    if (*message == MPI_MESSAGE_NULL || count < 0 || !t)
        return mpi_fail(NULL, call, *message == MPI_MESSAGE_NULL ? MPI_ERR_REQUEST : count < 0 ? MPI_ERR_COUNT
                                                                                               : MPI_ERR_TYPE);
    struct mpi_request *made = mpi_memory(sizeof *made);
    *made = (struct mpi_request){.kind = RECEIVE, .active = true, .complete = true, .data = data, .count = count,
                                 .type = t, .status = nothing};
    mpi_hold_type(t);
    if (*message != MPI_MESSAGE_NO_PROC)
        mpi_deliver(made, *message);
    *message = MPI_MESSAGE_NULL;
    *request = made;
    return MPI_SUCCESS;
}

int MPI_Recv_c(void *data, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status *status)
{
    return mpi_receive_later(data, count, type, source, tag, comm, status, __func__);
}

/* Those whose names end in `suffix`. */
#define RECEIVES(suffix, COUNT)                                                                                        \
    int MPI_Irecv##suffix(void *data, COUNT count, MPI_Datatype type, int source, int tag, MPI_Comm comm,              \
                          MPI_Request *request)                                                                        \
    {                                                                                                                  \
        return make(data, count, type, source, tag, comm, __func__, false, request);                                   \
    }                                                                                                                  \
    int MPI_Recv_init##suffix(void *data, COUNT count, MPI_Datatype type, int source, int tag, MPI_Comm comm,          \
                              MPI_Request *request)                                                                    \
    {                                                                                                                  \
        return make(data, count, type, source, tag, comm, __func__, true, request);                                    \
    }                                                                                                                  \
    int MPI_Sendrecv##suffix(const void *send, COUNT send_count, MPI_Datatype send_type, int to, int send_tag,         \
                             void *receive, COUNT receive_count, MPI_Datatype receive_type, int from, int receive_tag, \
                             MPI_Comm comm, MPI_Status *status)                                                        \
    {                                                                                                                  \
        return exchange(send, send_count, send_type, to, send_tag, receive, receive_count, receive_type, from,         \
                        receive_tag, comm, status, __func__);                                                          \
    }                                                                                                                  \
    int MPI_Sendrecv_replace##suffix(void *data, COUNT count, MPI_Datatype type, int to, int send_tag, int from,       \
                                     int receive_tag, MPI_Comm comm, MPI_Status *status)                               \
    {                                                                                                                  \
        return replace(data, count, type, to, send_tag, from, receive_tag, comm, status, __func__);                    \
    }                                                                                                                  \
    int MPI_Isendrecv##suffix(const void *send, COUNT send_count, MPI_Datatype send_type, int to, int send_tag,        \
                              void *receive, COUNT receive_count, MPI_Datatype receive_type, int from,                 \
                              int receive_tag, MPI_Comm comm, MPI_Request *request)                                    \
    {                                                                                                                  \
        MPI_Request receiving, sending;                                                                                \
        int result = MPI_Irecv_c(receive, receive_count, receive_type, from, receive_tag, comm, &receiving);           \
        if (!result)                                                                                                   \
            result = MPI_Isend_c(send, send_count, send_type, to, send_tag, comm, &sending);                           \
        return begin_pair(result, receiving, sending, comm, __func__, request);                                        \
    }                                                                                                                  \
    int MPI_Isendrecv_replace##suffix(void *data, COUNT count, MPI_Datatype type, int to, int send_tag, int from,      \
                                      int receive_tag, MPI_Comm comm, MPI_Request *request)                            \
    {                                                                                                                  \
        MPI_Request receiving, sending;                                                                                \
        int result = MPI_Ibsend_c(data, count, type, to, send_tag, comm, &sending); /* copies the data */              \
        if (!result)                                                                                                   \
            result = MPI_Irecv_c(data, count, type, from, receive_tag, comm, &receiving);                              \
        return begin_pair(result, receiving, sending, comm, __func__, request);                                        \
    }                                                                                                                  \
    int MPI_Imrecv##suffix(void *data, COUNT count, MPI_Datatype type, MPI_Message *message, MPI_Request *request)     \
    {                                                                                                                  \
        return receive_arrived(data, count, type, message, __func__, request);                                         \
    }                                                                                                                  \
    int MPI_Mrecv##suffix(void *data, COUNT count, MPI_Datatype type, MPI_Message *message, MPI_Status *status)        \
    {                                                                                                                  \
        MPI_Request request;                                                                                           \
        int result = receive_arrived(data, count, type, message, __func__, &request);                                  \
        return result ? result : MPI_Wait(&request, status);                                                           \
    }

RECEIVES(, int)
RECEIVES(_c, MPI_Count)

/* ---- Probes ---- */

/* The place of the first message that matches and was not withdrawn; its target is null if there is none. */
static struct mpi_arrival **look(struct communicator *c, int source, int tag)
{
    struct mpi_arrival **at = &mpi_arrived;
    mpi_progress();
    while (*(at = mpi_match_arrived(at, c->context, source, tag)) && (*at)->header.offer &&
           (*at)->header.offer->state == WITHDRAWN)
        at = &(*at)->next;
    return at;
}

static void tell_arrival(MPI_Status *status, const struct mpi_arrival *arrival)
{
    const struct header *header = &arrival->header;
    tell(status, &(MPI_Status){.MPI_SOURCE = header->source, .MPI_TAG = header->tag, .bytes = header->bytes});
}

/* One look, or looks until there is one; then takes it if `message` is not null. */
static int probe(int source, int tag, MPI_Comm comm, int *flag, MPI_Message *message, MPI_Status *status,
                 const char *call)
{
    struct communicator *c = mpi_comm(comm);
    struct mpi_arrival **at;
    struct pause pause = {0};
    int result = check(c, source, tag);

    if (result)
        return mpi_fail(c, call, result);
    if (source == MPI_PROC_NULL) {
        tell(status, &nothing);
        if (flag)
            *flag = true;
        if (message)
            *message = MPI_MESSAGE_NO_PROC;
        return MPI_SUCCESS;
    }
    do {
        while (!*(at = look(c, source, tag)) && !flag)
            mpi_relax(&pause);
        mpi_go_on(&pause);
        if (flag)
            *flag = *at != NULL;
        if (!*at) {
            toro_yield();
            return MPI_SUCCESS;
        }
        tell_arrival(status, *at);
        if (!message)
            return MPI_SUCCESS;
        *message = mpi_take(at);
    } while ((*message)->header.offer && !mpi_claim((*message)->header.offer));
    return MPI_SUCCESS;
}

int MPI_Probe(int source, int tag, MPI_Comm comm, MPI_Status *status)
{
    return probe(source, tag, comm, NULL, NULL, status, __func__);
}

int MPI_Iprobe(int source, int tag, MPI_Comm comm, int *flag, MPI_Status *status)
{
    return probe(source, tag, comm, flag, NULL, status, __func__);
}

int MPI_Mprobe(int source, int tag, MPI_Comm comm, MPI_Message *message, MPI_Status *status)
{
    return probe(source, tag, comm, NULL, message, status, __func__);
}

int MPI_Improbe(int source, int tag, MPI_Comm comm, int *flag, MPI_Message *message, MPI_Status *status)
{
    return probe(source, tag, comm, flag, message, status, __func__);
}
