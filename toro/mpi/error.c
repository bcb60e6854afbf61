/* Errors and their handlers (MPI 3.1, chapter 8). */
#include "internal.h"

#define STATUS_ERROR 1 /* exit status */
#define TEXTS_MAX 512

static const char *const texts[] = {
    [MPI_SUCCESS] = "no error",
    [MPI_ERR_BUFFER] = "no buffer, or one that is too small",
    [MPI_ERR_COUNT] = "invalid count",
    [MPI_ERR_TYPE] = "invalid type",
    [MPI_ERR_TAG] = "invalid tag",
    [MPI_ERR_COMM] = "invalid communicator",
    [MPI_ERR_RANK] = "invalid rank",
    [MPI_ERR_ROOT] = "invalid root",
    [MPI_ERR_GROUP] = "invalid group",
    [MPI_ERR_OP] = "invalid operation, or one that is not defined for the type",
    [MPI_ERR_TOPOLOGY] = "the communicator has no such topology",
    [MPI_ERR_DIMS] = "invalid dimensions",
    [MPI_ERR_ARG] = "invalid argument",
    [MPI_ERR_UNKNOWN] = "unknown error",
    [MPI_ERR_OTHER] = "the call is not allowed here",
    [MPI_ERR_TRUNCATE] = "the message is longer than the buffer",
    [MPI_ERR_INTERN] = "internal error",
    [MPI_ERR_IN_STATUS] = "the error is in a status",
    [MPI_ERR_PENDING] = "the operation is not complete",
    [MPI_ERR_REQUEST] = "invalid request",
    [MPI_ERR_KEYVAL] = "invalid key",
    [MPI_ERR_NO_MEM] = "no memory is left",
    [MPI_ERR_INFO_KEY] = "the info's key is too long",
    [MPI_ERR_INFO_VALUE] = "the info's value is too long",
    [MPI_ERR_INFO_NOKEY] = "the info has no such key",
    [MPI_ERR_INFO] = "invalid info",
    [MPI_ERR_WIN] = "invalid window",
    [MPI_ERR_BASE] = "invalid base",
    [MPI_ERR_SIZE] = "invalid size",
    [MPI_ERR_DISP] = "invalid displacement",
    [MPI_ERR_LOCKTYPE] = "invalid kind of lock",
    [MPI_ERR_ASSERT] = "invalid assertion",
    [MPI_ERR_RMA_CONFLICT] = "conflicting accesses to a window",
    [MPI_ERR_RMA_SYNC] = "the window is not in the right epoch",
    [MPI_ERR_RMA_RANGE] = "outside the window",
    [MPI_ERR_RMA_ATTACH] = "the memory cannot be attached",
    [MPI_ERR_RMA_SHARED] = "the window is not shared",
    [MPI_ERR_RMA_FLAVOR] = "the call is not for windows made like this one",
    [MPI_ERR_UNSUPPORTED_OPERATION] = "not supported",
    [MPI_ERR_ACCESS] = "no right to the file",
    [MPI_ERR_FILE] = "invalid file",
    [MPI_ERR_IO] = "input or output failed",
    [MPI_ERR_NAME] = "the name has not been published",
    [MPI_ERR_SERVICE] = "the service has not been published",
    [MPI_ERR_SPAWN] = "no process was started",
    [MPI_ERR_PORT] = "invalid port",
};

struct handler {
    MPI_Comm_errhandler_function *function;
};

static struct table handlers = {.first = 2};
static struct {
    int code, class;
    char text[MPI_MAX_ERROR_STRING];
} *added; /* by the program, from MPI_ERR_LASTCODE + 1 on */
static int added_count;
int mpi_last_used = MPI_ERR_LASTCODE;

static const char *text_of(int code)
{
    const char *text = NULL;
    if (code > MPI_ERR_LASTCODE && code <= MPI_ERR_LASTCODE + added_count)
        return added[code - MPI_ERR_LASTCODE - 1].text;
    if (code >= 0 && (size_t)code < sizeof texts / sizeof *texts)
        text = texts[code];
    return text ? text : "unknown error";
}

static char *append(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static char *append_number(char *at, unsigned number)
{
    if (number >= 10)
        at = append_number(at, number / 10);
    *at++ = '0' + number % 10;
    return at;
}

void mpi_die(const char *call, const char *text)
{
    char line[512], *at = append_number(append(line, "rank "), toro_core_index());
    at = append(append(append(append(append(at, ": "), call), ": "), text), "\n");
    toro_write(line, at - line);
    toro_end_all(STATUS_ERROR);
}

int mpi_fail(struct communicator *comm, const char *call, int code)
{
    if (mpi_phase != RUNNING)
        mpi_die(call, mpi_phase == BEFORE ? "before MPI_Init" : "after MPI_Finalize");
    comm = comm ? comm : mpi_world();
    if (comm->handler == MPI_ERRORS_ARE_FATAL)
        mpi_die(call, text_of(code));
    if (comm->handler != MPI_ERRORS_RETURN)
        ((struct handler *)mpi_table_at(&handlers, comm->handler))->function(&comm->handle, &code);
    return code;
}

void mpi_call_window_handler(MPI_Errhandler handler, MPI_Win *win, int code, const char *call)
{
    if (handler == MPI_ERRORS_ARE_FATAL)
        mpi_die(call, text_of(code));
    if (handler != MPI_ERRORS_RETURN)
        ((MPI_Win_errhandler_function *)((struct handler *)mpi_table_at(&handlers, handler))->function)(win, &code);
}

static int create(void *function, MPI_Errhandler *handler)
{
    struct handler *made = mpi_memory(sizeof *made);
    made->function = (MPI_Comm_errhandler_function *)function;
    *handler = mpi_table_add(&handlers, made);
    return MPI_SUCCESS;
}

int MPI_Comm_create_errhandler(MPI_Comm_errhandler_function *function, MPI_Errhandler *handler)
{
    return create((void *)function, handler);
}

int MPI_Errhandler_create(MPI_Handler_function *function, MPI_Errhandler *handler)
{
    return create((void *)function, handler);
}

int MPI_Win_create_errhandler(MPI_Win_errhandler_function *function, MPI_Errhandler *handler)
{
    return create((void *)function, handler);
}

static bool exists(MPI_Errhandler handler)
{
    return handler == MPI_ERRORS_ARE_FATAL || handler == MPI_ERRORS_RETURN || mpi_table_at(&handlers, handler);
}

bool mpi_handler_exists(MPI_Errhandler handler)
{
    return exists(handler);
}

int MPI_Comm_set_errhandler(MPI_Comm comm, MPI_Errhandler handler)
{
    COMMUNICATOR(c, comm);
    CHECK(c, exists(handler), MPI_ERR_ARG);
    c->handler = handler;
    return MPI_SUCCESS;
}

int MPI_Comm_get_errhandler(MPI_Comm comm, MPI_Errhandler *handler)
{
    COMMUNICATOR(c, comm);
    *handler = c->handler;
    return MPI_SUCCESS;
}

int MPI_Errhandler_set(MPI_Comm comm, MPI_Errhandler handler)
{
    return MPI_Comm_set_errhandler(comm, handler);
}

int MPI_Errhandler_get(MPI_Comm comm, MPI_Errhandler *handler)
{
    return MPI_Comm_get_errhandler(comm, handler);
}

/* Communicators may still refer to it, so it stays. */
int MPI_Errhandler_free(MPI_Errhandler *handler)
{
    CHECK(NULL, exists(*handler), MPI_ERR_ARG);
    *handler = MPI_ERRHANDLER_NULL;
    return MPI_SUCCESS;
}

int MPI_Comm_call_errhandler(MPI_Comm comm, int code)
{
    COMMUNICATOR(c, comm);
    mpi_fail(c, __func__, code);
    return MPI_SUCCESS;
}

int MPI_Error_class(int code, int *class)
{
    *class = code > MPI_ERR_LASTCODE && code <= MPI_ERR_LASTCODE + added_count
                 ? added[code - MPI_ERR_LASTCODE - 1].class
                 : code;
    return MPI_SUCCESS;
}

int MPI_Error_string(int code, char *text, int *length)
{
    mpi_copy_text(text, text_of(code), MPI_MAX_ERROR_STRING, length);
    return MPI_SUCCESS;
}

int MPI_Add_error_code(int class, int *code)
{
    if (!added)
        added = mpi_cleared(TEXTS_MAX * sizeof *added);
    CHECK(NULL, added_count < TEXTS_MAX, MPI_ERR_NO_MEM);
    *code = mpi_last_used = MPI_ERR_LASTCODE + 1 + added_count;
    added[added_count].class = class;
    added_count++;
    return MPI_SUCCESS;
}

int MPI_Add_error_class(int *class)
{
    int result = MPI_Add_error_code(0, class);
    if (result == MPI_SUCCESS)
        added[added_count - 1].class = *class;
    return result;
}

int MPI_Add_error_string(int code, const char *text)
{
    CHECK(NULL, code > MPI_ERR_LASTCODE && code <= MPI_ERR_LASTCODE + added_count, MPI_ERR_ARG);
    mpi_copy_text(added[code - MPI_ERR_LASTCODE - 1].text, text, MPI_MAX_ERROR_STRING, NULL);
    return MPI_SUCCESS;
}
