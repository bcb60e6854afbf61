/* Checks a barrier: no rank leaves a round before all have entered it. Each rank has variables of
 * its own, so what they share is a window. */
#include "timing.h"

int main(int argc, char **argv)
{
    int rank, size, unit, good = 1, *entered; /* entered: by all ranks, on rank 0 */
    long cycles = 0;
    MPI_Aint bytes;
    MPI_Win win;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Win_allocate_shared(rank == 0 ? sizeof *entered : 0, sizeof *entered, MPI_INFO_NULL, MPI_COMM_WORLD, &entered,
                            &win);
    MPI_Win_shared_query(win, 0, &bytes, &unit, &entered);
    for (int round = 0; round < ROUNDS; round++) {
        __atomic_add_fetch(entered, 1, __ATOMIC_SEQ_CST);
        unsigned long start = Mpi_Wtime();
        MPI_Barrier(MPI_COMM_WORLD);
        cycles += Mpi_Wtime() - start;
        good &= __atomic_load_n(entered, __ATOMIC_SEQ_CST) >= (round + 1) * size;
    }
    MPI_Win_free(&win);
    tell("MPI_BARRIER", size, cycles, good);
    MPI_Finalize();
    return !good;
}
