/* The memory of windows. */
#include "window.h"

static int create(struct communicator *c, void *base, MPI_Aint size, MPI_Aint unit, int flavor, MPI_Win *win)
{
    struct window *made = mpi_cleared(sizeof *made);
    struct part part = {toro_shared_address(base), size, unit, mpi_cleared(sizeof(struct lock))};
    MPI_Comm comm;
    int result = MPI_Comm_dup(c->handle, &comm);
    if (result)
        return result;
    made->comm = mpi_comm(comm);
    made->parts = mpi_memory(c->size * sizeof part);
    mpi_allgather(&part, made->parts, sizeof part, MPI_BYTE, c);
    made->base = base;
    made->size = size;
    made->unit = unit;
    made->flavor = flavor;
    made->model = MPI_WIN_UNIFIED;
    made->handler = MPI_ERRORS_ARE_FATAL;
    made->held = mpi_cleared(c->size * sizeof(int));
    *win = mpi_add_window(made);
    return MPI_SUCCESS;
}

#define NAME(name) name
#define PLACE int
#include "allocate.h"

#define NAME(name) name##_c
#define PLACE MPI_Aint
#include "allocate.h"

int MPI_Win_create_dynamic(MPI_Info info, MPI_Comm comm, MPI_Win *win)
{
    COMMUNICATOR(c, comm);
    (void)info;
    return create(c, MPI_BOTTOM, 0, 1, MPI_WIN_FLAVOR_DYNAMIC, win);
}

int MPI_Win_attach(MPI_Win win, void *base, MPI_Aint size)
{
    WINDOW(w, win);
    (void)base, (void)size;
    CHECK_WINDOW(win, w->flavor == MPI_WIN_FLAVOR_DYNAMIC, MPI_ERR_RMA_FLAVOR);
    return MPI_SUCCESS;
}

int MPI_Win_detach(MPI_Win win, const void *base)
{
    return MPI_Win_attach(win, (void *)base, 0);
}
