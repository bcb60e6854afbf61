/* Checks a barrier: no rank leaves a round before all have entered it. */
#include "timing.h"

static int entered; /* shared by all ranks */

int main(int argc, char **argv)
{
    int size, good = 1;
    long cycles = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int round = 0; round < ROUNDS; round++) {
        __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
        unsigned long start = Mpi_Wtime();
        MPI_Barrier(MPI_COMM_WORLD);
        cycles += Mpi_Wtime() - start;
        good &= __atomic_load_n(&entered, __ATOMIC_SEQ_CST) >= (round + 1) * size;
    }
    tell("MPI_BARRIER", size, cycles, good);
    MPI_Finalize();
    return !good;
}
