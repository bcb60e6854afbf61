/* Windows: memory of a rank that others read and write (MPI 3.1, chapter 11). All memory is in one
 * address space, so they do it themselves (access.c); what is here is the memory, and the epochs. */
#include "window.h"

static struct table windows;

struct window *mpi_window(MPI_Win handle)
{
    return mpi_table_at(&windows, handle);
}

int mpi_fail_in_window(int win, const char *call, int code)
{
    struct window *window = mpi_window(win);
    if (!window)
        return mpi_fail(NULL, call, code);
    mpi_call_window_handler(window->handler, &win, code, call);
    return code;
}

MPI_Win mpi_add_window(struct window *window)
{
    return mpi_table_add(&windows, window);
}

int MPI_Win_free(MPI_Win *win)
{
    WINDOW(w, *win);
    int result = mpi_delete_attributes(*win, &w->attributes);
    CHECK_WINDOW(*win, result == MPI_SUCCESS, result);
    mpi_barrier(w->comm);
    toro_release(w->parts[w->comm->rank].lock);
    if (w->flavor == MPI_WIN_FLAVOR_ALLOCATE)
        toro_release(w->base);
    if (w->whole)
        toro_release(w->whole);
    MPI_Comm comm = w->comm->handle;
    MPI_Comm_free(&comm);
    toro_release(w->parts);
    toro_release(w->held);
    mpi_table_remove(&windows, *win);
    toro_release(w);
    *win = MPI_WIN_NULL;
    return MPI_SUCCESS;
}

int MPI_Win_get_group(MPI_Win win, MPI_Group *group)
{
    WINDOW(w, win);
    return MPI_Comm_group(w->comm->handle, group);
}

int MPI_Win_set_name(MPI_Win win, const char *name)
{
    WINDOW(w, win);
    mpi_copy_text(w->name, name, NAME_SIZE, NULL);
    return MPI_SUCCESS;
}

int MPI_Win_get_name(MPI_Win win, char *name, int *length)
{
    WINDOW(w, win);
    mpi_copy_text(name, w->name, NAME_SIZE, length);
    return MPI_SUCCESS;
}

int MPI_Win_set_errhandler(MPI_Win win, MPI_Errhandler handler)
{
    WINDOW(w, win);
    CHECK_WINDOW(win, mpi_handler_exists(handler), MPI_ERR_ARG);
    w->handler = handler;
    return MPI_SUCCESS;
}

int MPI_Win_get_errhandler(MPI_Win win, MPI_Errhandler *handler)
{
    WINDOW(w, win);
    *handler = w->handler;
    return MPI_SUCCESS;
}

int MPI_Win_call_errhandler(MPI_Win win, int code)
{
    WINDOW(w, win);
    mpi_call_window_handler(w->handler, &win, code, __func__);
    return MPI_SUCCESS;
}

int MPI_Win_set_attr(MPI_Win win, int key, void *value)
{
    WINDOW(w, win);
    int result = mpi_set_attribute(win, &w->attributes, key, value);
    CHECK_WINDOW(win, result == MPI_SUCCESS, result);
    return result;
}

int MPI_Win_get_attr(MPI_Win win, int key, void *value, int *flag)
{
    WINDOW(w, win);
    *flag = true;
    switch (key) {
    case MPI_WIN_BASE:
        *(void **)value = w->base;
        return MPI_SUCCESS;
    case MPI_WIN_SIZE:
        *(MPI_Aint **)value = &w->size;
        return MPI_SUCCESS;
    case MPI_WIN_DISP_UNIT:
        *(int **)value = &w->unit;
        return MPI_SUCCESS;
    case MPI_WIN_CREATE_FLAVOR:
        *(int **)value = &w->flavor;
        return MPI_SUCCESS;
    case MPI_WIN_MODEL:
        *(int **)value = &w->model;
        return MPI_SUCCESS;
    default:;
        int result = mpi_get_attribute(w->attributes, key, value, flag);
        CHECK_WINDOW(win, result == MPI_SUCCESS, result);
        return result;
    }
}

int MPI_Win_delete_attr(MPI_Win win, int key)
{
    WINDOW(w, win);
    int result = mpi_delete_attribute(win, &w->attributes, key);
    CHECK_WINDOW(win, result == MPI_SUCCESS, result);
    return result;
}

/* ---- Epochs ---- */

int MPI_Win_fence(int assertion, MPI_Win win)
{
    WINDOW(w, win);
    (void)assertion;
    return mpi_barrier(w->comm);
}

#define TAG_POST (1 << 30)
#define TAG_COMPLETE (1 << 30 | 1)

static void tell_all(struct window *w, const struct group *group, int tag)
{
    for (int i = 0; i < group->size; i++)
        mpi_send(NULL, 0, MPI_BYTE, mpi_rank_in(w->comm->group, group->world[i]), tag, w->comm);
}

static void hear_all(struct window *w, const struct group *group, int tag)
{
    for (int i = 0; i < group->size; i++)
        mpi_receive(NULL, 0, MPI_BYTE, mpi_rank_in(w->comm->group, group->world[i]), tag, w->comm);
}

int MPI_Win_post(MPI_Group group, int assertion, MPI_Win win)
{
    WINDOW(w, win);
    struct group *g = mpi_group(group);
    (void)assertion;
    CHECK_WINDOW(win, g, MPI_ERR_GROUP);
    CHECK_WINDOW(win, !w->exposed, MPI_ERR_RMA_SYNC);
    g->references++;
    w->exposed = g;
    w->heard = 0;
    tell_all(w, g, TAG_POST);
    return MPI_SUCCESS;
}

int MPI_Win_start(MPI_Group group, int assertion, MPI_Win win)
{
    WINDOW(w, win);
    struct group *g = mpi_group(group);
    (void)assertion;
    CHECK_WINDOW(win, g, MPI_ERR_GROUP);
    CHECK_WINDOW(win, !w->accessed, MPI_ERR_RMA_SYNC);
    g->references++;
    w->accessed = g;
    hear_all(w, g, TAG_POST);
    return MPI_SUCCESS;
}

int MPI_Win_complete(MPI_Win win)
{
    WINDOW(w, win);
    CHECK_WINDOW(win, w->accessed, MPI_ERR_RMA_SYNC);
    tell_all(w, w->accessed, TAG_COMPLETE);
    mpi_release_group(w->accessed);
    w->accessed = NULL;
    return MPI_SUCCESS;
}

static int end_exposure(struct window *w, int *flag)
{
    struct group *group = w->exposed;
    while (w->heard < group->size) {
        int from = mpi_rank_in(w->comm->group, group->world[w->heard]);
        if (flag) {
            mpi_progress();
            if (!*mpi_match_arrived(&mpi_arrived, w->comm->context + 1, from, TAG_COMPLETE)) {
                *flag = false;
                toro_yield();
                return MPI_SUCCESS;
            }
        }
        mpi_receive(NULL, 0, MPI_BYTE, from, TAG_COMPLETE, w->comm);
        w->heard++;
    }
    mpi_release_group(group);
    w->exposed = NULL;
    if (flag)
        *flag = true;
    return MPI_SUCCESS;
}

int MPI_Win_wait(MPI_Win win)
{
    WINDOW(w, win);
    CHECK_WINDOW(win, w->exposed, MPI_ERR_RMA_SYNC);
    return end_exposure(w, NULL);
}

int MPI_Win_test(MPI_Win win, int *flag)
{
    WINDOW(w, win);
    CHECK_WINDOW(win, w->exposed, MPI_ERR_RMA_SYNC);
    return end_exposure(w, flag);
}

/* ---- Locks ----
 *
 * A lock's word is the number of shared holders, or -1. Whoever waits for it lets messages come in,
 * and does not block: nobody would wake it. */

static void take_lock(struct lock *lock, int kind)
{
    for (struct pause pause = {0};;) {
        int holders = lock->holders, wanted = kind == MPI_LOCK_SHARED ? holders + 1 : -1;
        if ((kind == MPI_LOCK_SHARED ? holders >= 0 : holders == 0) &&
            atomic_compare_exchange_strong(&lock->holders, &holders, wanted))
            return;
        mpi_progress();
        mpi_poll(&pause);
    }
}

static void leave_lock(struct lock *lock, int kind)
{
    if (kind == MPI_LOCK_SHARED)
        atomic_fetch_sub(&lock->holders, 1);
    else
        atomic_store(&lock->holders, 0);
}

int MPI_Win_lock(int kind, int rank, int assertion, MPI_Win win)
{
    WINDOW(w, win);
    (void)assertion;
    CHECK_WINDOW(win, kind == MPI_LOCK_SHARED || kind == MPI_LOCK_EXCLUSIVE, MPI_ERR_LOCKTYPE);
    if (rank == MPI_PROC_NULL)
        return MPI_SUCCESS;
    CHECK_WINDOW(win, rank >= 0 && rank < w->comm->size, MPI_ERR_RANK);
    CHECK_WINDOW(win, !w->held[rank], MPI_ERR_RMA_SYNC);
    take_lock(w->parts[rank].lock, kind);
    w->held[rank] = kind;
    return MPI_SUCCESS;
}

int MPI_Win_unlock(int rank, MPI_Win win)
{
    WINDOW(w, win);
    if (rank == MPI_PROC_NULL)
        return MPI_SUCCESS;
    CHECK_WINDOW(win, rank >= 0 && rank < w->comm->size, MPI_ERR_RANK);
    CHECK_WINDOW(win, w->held[rank], MPI_ERR_RMA_SYNC);
    leave_lock(w->parts[rank].lock, w->held[rank]);
    w->held[rank] = 0;
    return MPI_SUCCESS;
}

int MPI_Win_lock_all(int assertion, MPI_Win win)
{
    WINDOW(w, win);
    for (int rank = 0; rank < w->comm->size; rank++) {
        int result = MPI_Win_lock(MPI_LOCK_SHARED, rank, assertion, win);
        if (result)
            return result;
    }
    return MPI_SUCCESS;
}

int MPI_Win_unlock_all(MPI_Win win)
{
    WINDOW(w, win);
    for (int rank = 0; rank < w->comm->size; rank++) {
        int result = MPI_Win_unlock(rank, win);
        if (result)
            return result;
    }
    return MPI_SUCCESS;
}

/* Operations are complete when they return; other ranks see them in this order. */
int MPI_Win_sync(MPI_Win win)
{
    WINDOW(w, win);
    (void)w;
    atomic_thread_fence(memory_order_seq_cst);
    mpi_progress();
    toro_yield();
    return MPI_SUCCESS;
}

int MPI_Win_flush_all(MPI_Win win)
{
    return MPI_Win_sync(win);
}

int MPI_Win_flush_local_all(MPI_Win win)
{
    return MPI_Win_sync(win);
}

int MPI_Win_flush(int rank, MPI_Win win)
{
    (void)rank;
    return MPI_Win_sync(win);
}

int MPI_Win_flush_local(int rank, MPI_Win win)
{
    (void)rank;
    return MPI_Win_sync(win);
}
