/* Reading and writing windows: by copies, which are done when the call returns. */
#include "window.h"

/* What is accessed; its address. Null: an error, in *result; or nothing, at MPI_PROC_NULL. */
static void *target_of(MPI_Win win, int rank, MPI_Aint offset, MPI_Count count, MPI_Datatype type, const char *call,
                       int *result)
{
    struct window *w = mpi_window(win);
    struct type *t = mpi_type(type);
    *result = MPI_SUCCESS;
    if (w && rank == MPI_PROC_NULL)
        return NULL;
    if (!w)
        *result = MPI_ERR_WIN;
    else if (rank < 0 || rank >= w->comm->size)
        *result = MPI_ERR_RANK;
    else if (count < 0)
        *result = MPI_ERR_COUNT;
    else if (!t)
        *result = MPI_ERR_TYPE;
    if (*result) {
        *result = mpi_fail_in_window(win, call, *result);
        return NULL;
    }
    struct part *part = &w->parts[rank];
    MPI_Aint first = offset * part->unit;
    if (w->flavor == MPI_WIN_FLAVOR_DYNAMIC) /* an address of the target's */
        return toro_shared_address((void *)offset);
    MPI_Aint end = first + t->true_lower + t->true_extent + (count - 1) * t->extent;
    if (count && t->size && (first + t->true_lower < 0 || end > part->size)) {
        *result = mpi_fail_in_window(win, call, MPI_ERR_RMA_RANGE);
        return NULL;
    }
    return part->base + first;
}

static void enter(MPI_Win win, int rank)
{
    struct lock *lock = mpi_window(win)->parts[rank].lock;
    while (atomic_exchange(&lock->busy, 1))
        __builtin_ia32_pause();
}

static void leave(MPI_Win win, int rank)
{
    atomic_store(&mpi_window(win)->parts[rank].lock->busy, 0);
}

/* Reads the target into `data`, or writes it from there. */
static int move(bool reads, void *data, MPI_Count count, MPI_Datatype type, int rank, MPI_Aint offset,
                MPI_Count target_count, MPI_Datatype target_type, MPI_Win win, const char *call)
{
    int result;
    void *target = target_of(win, rank, offset, target_count, target_type, call, &result);
    if (!target)
        return result;
    if (count < 0 || !mpi_type(type))
        return mpi_fail_in_window(win, call, count < 0 ? MPI_ERR_COUNT : MPI_ERR_TYPE);
    result = reads ? mpi_copy_typed(target, target_count, target_type, data, count, type)
                   : mpi_copy_typed(data, count, type, target, target_count, target_type);
    return result ? mpi_fail_in_window(win, call, result) : MPI_SUCCESS;
}

/* Combines elements with those of the target, which are of one basic type. */
static void combine_at(const void *data, MPI_Count count, MPI_Datatype type, void *target, MPI_Count target_count,
                       MPI_Datatype target_type, MPI_Op operation)
{
    if (operation == MPI_NO_OP)
        return;
    if (operation == MPI_REPLACE) {
        mpi_copy_typed(data, count, type, target, target_count, target_type);
        return;
    }
    struct type *t = mpi_type(target_type);
    MPI_Datatype basic = t->kind;
    MPI_Count number = t->size * target_count / mpi_type(basic)->size;
    void *in = (void *)data, *inout = target;
    if (type != basic) {
        in = mpi_elements(number, basic);
        mpi_copy_typed(data, count, type, in, number, basic);
    }
    if (target_type != basic) {
        inout = mpi_elements(number, basic);
        mpi_copy_typed(target, target_count, target_type, inout, number, basic);
    }
    mpi_combine(in, inout, number, basic, operation);
    if (type != basic)
        mpi_discard(in, basic);
    if (target_type != basic) {
        mpi_copy_typed(inout, number, basic, target, target_count, target_type);
        mpi_discard(inout, basic);
    }
}

static int accumulate(const void *data, MPI_Count count, MPI_Datatype type, void *result_data, MPI_Count result_count,
                      MPI_Datatype result_type, int rank, MPI_Aint offset, MPI_Count target_count,
                      MPI_Datatype target_type, MPI_Op operation, MPI_Win win, const char *call)
{
    int result;
    void *target = target_of(win, rank, offset, target_count, target_type, call, &result);
    if (!target)
        return result;
    struct type *t = mpi_type(target_type);
    if (!target_count || !t->size)
        return MPI_SUCCESS;
    if (operation != MPI_REPLACE && operation != MPI_NO_OP && (t->kind < 0 || !mpi_can_combine(operation, t->kind)))
        return mpi_fail_in_window(win, call, MPI_ERR_OP);
    enter(win, rank);
    if (result_data)
        mpi_copy_typed(target, target_count, target_type, result_data, result_count, result_type);
    combine_at(data, count, type, target, target_count, target_type, operation);
    leave(win, rank);
    return MPI_SUCCESS;
}

/* The forms with a request have one that is complete. */
static int complete(int result, MPI_Request *request)
{
    if (!result) {
        struct mpi_request *made = mpi_memory(sizeof *made);
        *made = (struct mpi_request){.kind = NOTHING, .active = true, .complete = true, .comm = mpi_world(),
                                     .status = {.MPI_SOURCE = MPI_ANY_SOURCE, .MPI_TAG = MPI_ANY_TAG}};
        *request = made;
    }
    return result;
}

#define NAME(name) name
#define COUNT int
#include "access.h"

#define NAME(name) name##_c
#define COUNT MPI_Count
#include "access.h"

int MPI_Fetch_and_op(const void *data, void *result, MPI_Datatype type, int rank, MPI_Aint offset, MPI_Op operation,
                     MPI_Win win)
{
    return accumulate(data, 1, type, result, 1, type, rank, offset, 1, type, operation, win, __func__);
}

int MPI_Compare_and_swap(const void *data, const void *compare, void *result, MPI_Datatype type, int rank,
                         MPI_Aint offset, MPI_Win win)
{
    int error;
    void *target = target_of(win, rank, offset, 1, type, __func__, &error);
    if (!target)
        return error;
    size_t size = mpi_type(type)->size;
    enter(win, rank);
    mpi_copy(result, target, size);
    if (!memcmp(target, compare, size))
        mpi_copy(target, data, size);
    leave(win, rank);
    return MPI_SUCCESS;
}
