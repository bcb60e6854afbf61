/* Waiting for requests, and all else that is done with them (MPI 3.1, sections 3.7 to 3.9). */
#include "internal.h"

static const MPI_Status empty = {.MPI_SOURCE = MPI_ANY_SOURCE, .MPI_TAG = MPI_ANY_TAG};

void mpi_free_request(struct mpi_request *request)
{
    mpi_release_type(request->type);
    if (request->prepared)
        toro_release(request->prepared);
    toro_release(request);
}

static bool is_active(MPI_Request request)
{
    return request && request->active;
}

static bool is_done(MPI_Request request)
{
    if (!request->complete)
        mpi_check(request);
    return request->complete;
}

static void tell(MPI_Status *status, const MPI_Status *from, int error, bool with_error)
{
    if (!status)
        return;
    int before = status->MPI_ERROR;
    *status = *from;
    status->MPI_ERROR = with_error ? error : before;
}

/* Ends a complete operation; returns its error. */
static int end(MPI_Request *handle, MPI_Status *status, bool with_error)
{
    struct mpi_request *request = *handle;
    int error = request->error;

    if (request->kind == GENERALIZED) {
        error = request->query(request->state, &request->status);
        request->cancelled = request->status.cancelled;
    }
    request->status.cancelled = request->cancelled;
    tell(status, &request->status, error, with_error);
    request->active = false;
    if (request->kind == GENERALIZED && request->release)
        request->release(request->state);
    if (!request->persistent) {
        mpi_free_request(request);
        *handle = MPI_REQUEST_NULL;
    }
    return error;
}

/* Frees requests that the program gave up, as soon as they are complete. */
static struct mpi_request *abandoned[64];

static void look_after_abandoned(void)
{
    for (int i = 0; i < 64; i++)
        if (abandoned[i] && is_done(abandoned[i])) {
            mpi_free_request(abandoned[i]);
            abandoned[i] = NULL;
        }
}

static int report(struct communicator *comm, int error, const char *call)
{
    return error ? mpi_fail(comm, call, error) : MPI_SUCCESS;
}

int MPI_Wait(MPI_Request *request, MPI_Status *status)
{
    if (!is_active(*request)) {
        tell(status, &empty, 0, false);
        return MPI_SUCCESS;
    }
    struct communicator *comm = (*request)->comm;
    mpi_wait(*request);
    return report(comm, end(request, status, false), __func__);
}

int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status)
{
    if (!is_active(*request)) {
        *flag = true;
        tell(status, &empty, 0, false);
        return MPI_SUCCESS;
    }
    struct communicator *comm = (*request)->comm;
    mpi_progress();
    *flag = is_done(*request);
    if (!*flag) {
        toro_yield();
        return MPI_SUCCESS;
    }
    return report(comm, end(request, status, false), __func__);
}

static int end_all(int count, MPI_Request requests[], MPI_Status statuses[], const char *call)
{
    struct communicator *comm = NULL;
    bool failed = false;
    for (int i = 0; i < count; i++) {
        MPI_Status *status = statuses ? &statuses[i] : NULL;
        if (!is_active(requests[i])) {
            tell(status, &empty, MPI_SUCCESS, true);
            continue;
        }
        struct communicator *own = requests[i]->comm;
        if (end(&requests[i], status, true)) {
            failed = true;
            comm = own;
        }
    }
    return failed ? mpi_fail(comm, call, MPI_ERR_IN_STATUS) : MPI_SUCCESS;
}

int MPI_Waitall(int count, MPI_Request requests[], MPI_Status statuses[])
{
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    for (int i = 0; i < count; i++)
        if (is_active(requests[i]))
            mpi_wait(requests[i]);
    return end_all(count, requests, statuses, __func__);
}

int MPI_Testall(int count, MPI_Request requests[], int *flag, MPI_Status statuses[])
{
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    mpi_progress();
    *flag = true;
    for (int i = 0; i < count; i++)
        if (is_active(requests[i]) && !is_done(requests[i]))
            *flag = false;
    if (!*flag) {
        toro_yield();
        return MPI_SUCCESS;
    }
    return end_all(count, requests, statuses, __func__);
}

/* The first request that is done; -1: none yet, count: none is active. */
static int first_done(int count, MPI_Request requests[])
{
    bool any = false;
    mpi_progress();
    for (int i = 0; i < count; i++)
        if (is_active(requests[i])) {
            any = true;
            if (is_done(requests[i]))
                return i;
        }
    return any ? -1 : count;
}

static int end_any(int count, MPI_Request requests[], int at, int *index, MPI_Status *status, const char *call)
{
    if (at == count) {
        *index = MPI_UNDEFINED;
        tell(status, &empty, 0, false);
        return MPI_SUCCESS;
    }
    struct communicator *comm = requests[at]->comm;
    *index = at;
    return report(comm, end(&requests[at], status, false), call);
}

int MPI_Waitany(int count, MPI_Request requests[], int *index, MPI_Status *status)
{
    struct pause pause = {0};
    int at;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    while ((at = first_done(count, requests)) < 0)
        mpi_relax(&pause);
    mpi_go_on(&pause);
    return end_any(count, requests, at, index, status, __func__);
}

int MPI_Testany(int count, MPI_Request requests[], int *index, int *flag, MPI_Status *status)
{
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    int at = first_done(count, requests);
    *flag = at >= 0;
    *index = MPI_UNDEFINED;
    if (!*flag) {
        toro_yield();
        return MPI_SUCCESS;
    }
    return end_any(count, requests, at, index, status, __func__);
}

static int end_some(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[],
                    const char *call)
{
    struct communicator *comm = NULL;
    bool failed = false;
    *done = 0;
    for (int i = 0; i < count; i++)
        if (is_active(requests[i]) && is_done(requests[i])) {
            struct communicator *own = requests[i]->comm;
            if (end(&requests[i], statuses ? &statuses[*done] : NULL, true)) {
                failed = true;
                comm = own;
            }
            indices[(*done)++] = i;
        }
    return failed ? mpi_fail(comm, call, MPI_ERR_IN_STATUS) : MPI_SUCCESS;
}

int MPI_Waitsome(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[])
{
    struct pause pause = {0};
    int at;
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    while ((at = first_done(count, requests)) < 0)
        mpi_relax(&pause);
    mpi_go_on(&pause);
    if (at == count) {
        *done = MPI_UNDEFINED;
        return MPI_SUCCESS;
    }
    return end_some(count, requests, done, indices, statuses, __func__);
}

int MPI_Testsome(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[])
{
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    int at = first_done(count, requests);
    if (at == count) {
        *done = MPI_UNDEFINED;
        return MPI_SUCCESS;
    }
    if (at < 0)
        toro_yield();
    return end_some(count, requests, done, indices, statuses, __func__);
}

int MPI_Start(MPI_Request *handle)
{
    struct mpi_request *request = *handle;
    CHECK(NULL, request && request->persistent && !request->active, MPI_ERR_REQUEST);
    request->active = true;
    if (request->kind == SEND)
        mpi_start_send(request, request->comm->context, request->tag);
    else if (request->kind == RECEIVE)
        mpi_start_receive(request, request->comm->context, request->tag);
    else if (request->kind == COLLECTIVE)
        mpi_restart(request);
    return MPI_SUCCESS;
}

int MPI_Startall(int count, MPI_Request requests[])
{
    CHECK(NULL, count >= 0, MPI_ERR_COUNT);
    for (int i = 0; i < count; i++) {
        int result = MPI_Start(&requests[i]);
        if (result)
            return result;
    }
    return MPI_SUCCESS;
}

int MPI_Cancel(MPI_Request *request)
{
    CHECK(NULL, is_active(*request), MPI_ERR_REQUEST);
    if ((*request)->kind == GENERALIZED)
        return (*request)->cancel((*request)->state, (*request)->complete);
    if ((*request)->complete || !mpi_withdraw(*request))
        return MPI_SUCCESS;
    (*request)->cancelled = (*request)->complete = true;
    return MPI_SUCCESS;
}

int MPI_Test_cancelled(const MPI_Status *status, int *flag)
{
    *flag = status->cancelled;
    return MPI_SUCCESS;
}

int MPI_Status_set_cancelled(MPI_Status *status, int flag)
{
    status->cancelled = flag;
    return MPI_SUCCESS;
}

int MPI_Request_free(MPI_Request *handle)
{
    struct mpi_request *request = *handle;
    CHECK(NULL, request, MPI_ERR_REQUEST);
    *handle = MPI_REQUEST_NULL;
    look_after_abandoned();
    if (request->kind == GENERALIZED && request->complete && request->release)
        request->release(request->state);
    if (!request->active || is_done(request)) {
        mpi_free_request(request);
        return MPI_SUCCESS;
    }
    for (int i = 0; i < 64; i++)
        if (!abandoned[i]) {
            abandoned[i] = request;
            return MPI_SUCCESS;
        }
    mpi_wait(request);
    mpi_free_request(request);
    return MPI_SUCCESS;
}

int MPI_Request_get_status(MPI_Request request, int *flag, MPI_Status *status)
{
    *flag = true;
    if (!is_active(request)) {
        tell(status, &empty, 0, false);
        return MPI_SUCCESS;
    }
    mpi_progress();
    *flag = is_done(request);
    if (*flag) {
        request->status.cancelled = request->cancelled;
        tell(status, &request->status, 0, false);
    } else
        toro_yield();
    return MPI_SUCCESS;
}

/* ---- Generalized requests: the program itself completes them ---- */

int MPI_Grequest_start(MPI_Grequest_query_function *query, MPI_Grequest_free_function *release,
                       MPI_Grequest_cancel_function *cancel, void *state, MPI_Request *request)
{
    struct mpi_request *made = mpi_memory(sizeof *made);
    *made = (struct mpi_request){.kind = GENERALIZED, .active = true, .query = query, .release = release,
                                 .cancel = cancel, .state = state, .comm = mpi_world(), .status = empty};
    *request = made;
    return MPI_SUCCESS;
}

int MPI_Grequest_complete(MPI_Request request)
{
    CHECK(NULL, request && request->kind == GENERALIZED, MPI_ERR_REQUEST);
    request->complete = true;
    return MPI_SUCCESS;
}
