/* Sums vectors of all ranks on rank 0. */
#include "timing.h"

#define LONGEST 16384

static int run(int length)
{
    static int sums[LONGEST];
    int rank, size, vector[LONGEST];
    long cycles = 0;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < length; i++)
        vector[i] = rank + i;
    for (int round = 0; round < ROUNDS; round++) {
        MPI_Barrier(MPI_COMM_WORLD);
        unsigned long start = Mpi_Wtime();
        MPI_Reduce(vector, sums, length, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
        cycles += Mpi_Wtime() - start;
    }
    int good = 1;
    if (rank == 0)
        for (int i = 0; i < length; i++)
            good &= sums[i] == size * (size - 1) / 2 + size * i;
    tell("MPI_REDUCE", length, cycles, good);
    return good;
}

int main(int argc, char **argv)
{
    int good = 1;
    MPI_Init(&argc, &argv);
    for (int length = 1; length <= LONGEST; length *= 4)
        good &= run(length);
    MPI_Finalize();
    return !good;
}
