/* Start, end, names and time. */
#include "internal.h"

#define TAG_END (1 << 29)

SHARED static _Atomic int started; /* ranks: all begin at a time */

intptr_t toro_rank_offset; /* set by Ranks.pas */
enum mpi_phase mpi_phase;
int mpi_rank, mpi_size;

static int thread_level = MPI_THREAD_SINGLE;

void mpi_start(void)
{
    if (mpi_phase != BEFORE)
        return;
    mpi_rank = toro_core_index();
    mpi_size = toro_core_count();
    mpi_phase = RUNNING;
    mpi_ring_start();
    mpi_start_comms();
    started++;
    while (started < mpi_size)
        toro_yield();
}

int MPI_Init(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    CHECK(NULL, mpi_phase == BEFORE, MPI_ERR_OTHER);
    mpi_start();
    return MPI_SUCCESS;
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    *provided = thread_level = required < MPI_THREAD_SERIALIZED ? required : MPI_THREAD_SERIALIZED;
    return MPI_Init(argc, argv);
}

int MPI_Finalize(void)
{
    CHECK(NULL, mpi_phase == RUNNING, MPI_ERR_OTHER);
    mpi_delete_attributes(MPI_COMM_SELF, &mpi_comm(MPI_COMM_SELF)->attributes);
    mpi_delete_attributes(MPI_COMM_WORLD, &mpi_world()->attributes);
    /* Not by a number of the communicator: ranks that have erred about collective operations end as well. */
    mpi_run_barrier(&(struct collective){.comm = mpi_world(), .tag = TAG_END});
    mpi_phase = AFTER;
    return MPI_SUCCESS;
}

int MPI_Initialized(int *flag)
{
    *flag = mpi_phase != BEFORE;
    return MPI_SUCCESS;
}

int MPI_Finalized(int *flag)
{
    *flag = mpi_phase == AFTER;
    return MPI_SUCCESS;
}

int MPI_Query_thread(int *provided)
{
    *provided = thread_level;
    return MPI_SUCCESS;
}

int MPI_Is_thread_main(int *flag)
{
    *flag = true;
    return MPI_SUCCESS;
}

/* A rank that ends before MPI_Finalize, with an error, takes the others with it: they would wait for
 * it for ever. */
void mpi_leave(int status)
{
    if (status && mpi_phase == RUNNING)
        toro_end_all(status);
}

int MPI_Abort(MPI_Comm comm, int status)
{
    (void)comm;
    toro_end_all(status);
}

int MPI_Get_processor_name(char *name, int *length)
{
    mpi_copy_text(name, "toro", MPI_MAX_PROCESSOR_NAME, length);
    return MPI_SUCCESS;
}

int MPI_Get_version(int *version, int *subversion)
{
    *version = MPI_VERSION;
    *subversion = MPI_SUBVERSION;
    return MPI_SUCCESS;
}

int MPI_Get_library_version(char *version, int *length)
{
    mpi_copy_text(version, "Toro MPI", MPI_MAX_LIBRARY_VERSION_STRING, length);
    return MPI_SUCCESS;
}

int MPI_Alloc_mem(MPI_Aint size, MPI_Info info, void *memory)
{
    (void)info;
    CHECK(NULL, size >= 0, MPI_ERR_ARG);
    *(void **)memory = toro_memory(size ? size : 1);
    CHECK(NULL, *(void **)memory, MPI_ERR_NO_MEM);
    return MPI_SUCCESS;
}

int MPI_Free_mem(void *memory)
{
    toro_release(memory);
    return MPI_SUCCESS;
}

int MPI_Pcontrol(const int level, ...)
{
    (void)level;
    return MPI_SUCCESS;
}

double MPI_Wtime(void)
{
    return toro_monotonic_ns() / 1e9;
}

double MPI_Wtick(void)
{
    return 1e-9;
}
