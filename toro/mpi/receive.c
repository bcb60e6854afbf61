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

static int check_all(const struct communicator *c, const void *data, int count, const struct type *type, int source,
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
static bool describe(struct mpi_request *request, void *data, int count, MPI_Datatype type, int source, int tag,
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

int mpi_receive_later(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status *status,
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

static int make(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, const char *call,
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

int MPI_Irecv(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Request *request)
{
    return make(data, count, type, source, tag, comm, __func__, false, request);
}

int MPI_Recv_init(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Request *request)
{
    return make(data, count, type, source, tag, comm, __func__, true, request);
}

int MPI_Sendrecv(const void *send, int send_count, MPI_Datatype send_type, int destination, int send_tag,
                 void *receive, int receive_count, MPI_Datatype receive_type, int source, int receive_tag,
                 MPI_Comm comm, MPI_Status *status)
{
    struct mpi_request request;
    int result;
    if (describe(&request, receive, receive_count, receive_type, source, receive_tag, comm, __func__, &result))
        mpi_start_receive(&request, request.comm->context, receive_tag);
    if (result)
        return result;
    MPI_Request sending;
    result = MPI_Isend(send, send_count, send_type, destination, send_tag, comm, &sending);
    if (result) {
        mpi_withdraw(&request);
        return result;
    }
    mpi_wait(&request);
    mpi_wait(sending);
    mpi_free_request(sending);
    return end(&request, status, __func__);
}

int MPI_Sendrecv_replace(void *data, int count, MPI_Datatype type, int destination, int send_tag, int source,
                         int receive_tag, MPI_Comm comm, MPI_Status *status)
{
    COMMUNICATOR(c, comm);
    CHECK(c, count >= 0, MPI_ERR_COUNT);
    CHECK(c, mpi_type(type), MPI_ERR_TYPE);
    int size = mpi_type(type)->size * count;
    void *copy = mpi_memory(size + 1);
    mpi_pack(data, count, mpi_type(type), copy);
    int result = MPI_Sendrecv(copy, size, MPI_BYTE, destination, send_tag, data, count, type, source, receive_tag,
                              comm, status);
    toro_release(copy);
    return result;
}

/* Both of MPI 4. An activity waits for the two, as for a collective operation. */
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

int MPI_Isendrecv(const void *send, int send_count, MPI_Datatype send_type, int destination, int send_tag,
                  void *receive, int receive_count, MPI_Datatype receive_type, int source, int receive_tag,
                  MPI_Comm comm, MPI_Request *request)
{
    struct collective both = {.call = __func__, .run = run_exchange, .comm = mpi_comm(comm)};
    int result = MPI_Irecv(receive, receive_count, receive_type, source, receive_tag, comm, &both.pair[0]);
    if (!result)
        result = MPI_Isend(send, send_count, send_type, destination, send_tag, comm, &both.pair[1]);
    return result ? result : mpi_begin_untagged(&both, request);
}

int MPI_Isendrecv_replace(void *data, int count, MPI_Datatype type, int destination, int send_tag, int source,
                          int receive_tag, MPI_Comm comm, MPI_Request *request)
{
    struct collective both = {.call = __func__, .run = run_exchange, .comm = mpi_comm(comm)};
    MPI_Request sending;
    int result = MPI_Ibsend(data, count, type, destination, send_tag, comm, &sending); /* copies the data */
    if (result)
        return result;
    both.pair[1] = sending;
    result = MPI_Irecv(data, count, type, source, receive_tag, comm, &both.pair[0]);
    return result ? result : mpi_begin_untagged(&both, request);
}

/* ---- Probes ---- */

/* The place of the first message that matches and was not withdrawn; its target is null if there is none. */
static struct mpi_arrival **look(struct communicator *c, int source, int tag)
{
    struct mpi_arrival **at = mpi_arrived_first();
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

int MPI_Imrecv(void *data, int count, MPI_Datatype type, MPI_Message *message, MPI_Request *request)
{
    CHECK(NULL, *message != MPI_MESSAGE_NULL, MPI_ERR_REQUEST);
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    CHECK(NULL, mpi_type(type), MPI_ERR_TYPE);
    struct mpi_request *made = mpi_memory(sizeof *made);
    *made = (struct mpi_request){.kind = RECEIVE, .active = true, .complete = true, .data = data, .count = count,
                                 .type = mpi_type(type), .status = nothing};
    mpi_hold_type(made->type);
    if (*message != MPI_MESSAGE_NO_PROC)
        mpi_deliver(made, *message);
    *message = MPI_MESSAGE_NULL;
    *request = made;
    return MPI_SUCCESS;
}

int MPI_Mrecv(void *data, int count, MPI_Datatype type, MPI_Message *message, MPI_Status *status)
{
    MPI_Request request;
    int result = MPI_Imrecv(data, count, type, message, &request);
    return result ? result : MPI_Wait(&request, status);
}
