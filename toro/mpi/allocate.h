/* Definitions for allocate.c, of the calls whose units are PLACE. NAME makes the name. */

int NAME(MPI_Win_create)(void *base, MPI_Aint size, PLACE unit, MPI_Info info, MPI_Comm comm, MPI_Win *win)
{
    COMMUNICATOR(c, comm);
    (void)info;
    CHECK(c, size >= 0, MPI_ERR_SIZE);
    CHECK(c, unit > 0, MPI_ERR_DISP);
    return create(c, base, size, unit, MPI_WIN_FLAVOR_CREATE, win);
}

int NAME(MPI_Win_allocate)(MPI_Aint size, PLACE unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win)
{
    COMMUNICATOR(c, comm);
    (void)info;
    CHECK(c, size >= 0, MPI_ERR_SIZE);
    CHECK(c, unit > 0, MPI_ERR_DISP);
    *(void **)base = mpi_cleared(size + 1);
    return create(c, *(void **)base, size, unit, MPI_WIN_FLAVOR_ALLOCATE, win);
}

/* The parts of the ranks follow one another. */
int NAME(MPI_Win_allocate_shared)(MPI_Aint size, PLACE unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win)
{
    COMMUNICATOR(c, comm);
    (void)info;
    CHECK(c, size >= 0, MPI_ERR_SIZE);
    CHECK(c, unit > 0, MPI_ERR_DISP);
    MPI_Aint sizes[RANKS_MAX], before = 0, all = 0;
    char *memory = NULL;
    mpi_allgather(&size, sizes, 1, MPI_AINT, c);
    for (int rank = 0; rank < c->size; rank++) {
        before += rank < c->rank ? sizes[rank] : 0;
        all += sizes[rank];
    }
    if (c->rank == 0)
        memory = mpi_cleared(all + 1);
    mpi_bcast(&memory, sizeof memory, MPI_BYTE, 0, c);
    *(void **)base = memory + before;
    int result = create(c, memory + before, size, unit, MPI_WIN_FLAVOR_SHARED, win);
    if (!result && c->rank == 0)
        mpi_window(*win)->whole = memory;
    return result;
}

int NAME(MPI_Win_shared_query)(MPI_Win win, int rank, MPI_Aint *size, PLACE *unit, void *base)
{
    WINDOW(w, win);
    CHECK_WINDOW(win, w->flavor == MPI_WIN_FLAVOR_SHARED, MPI_ERR_RMA_FLAVOR);
    if (rank == MPI_PROC_NULL) /* the first that has any */
        for (rank = 0; rank < w->comm->size - 1 && !w->parts[rank].size;)
            rank++;
    CHECK_WINDOW(win, rank >= 0 && rank < w->comm->size, MPI_ERR_RANK);
    *size = w->parts[rank].size;
    *unit = w->parts[rank].unit;
    *(void **)base = *size ? w->parts[rank].base : NULL;
    return MPI_SUCCESS;
}

#undef NAME
#undef PLACE
