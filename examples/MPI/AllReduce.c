/* Computes the element-wise maximum of vectors of all ranks, for all ranks. */
#include "timing.h"

#define LONGEST 16384

static int run(int length)
{
    int rank, size;
    double vector[LONGEST], largest[LONGEST];
    long cycles = 0;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < length; i++)
        vector[i] = (i + rank) % size + i / 2.0;
    for (int round = 0; round < ROUNDS; round++) {
        MPI_Barrier(MPI_COMM_WORLD);
        unsigned long start = Mpi_Wtime();
        MPI_Allreduce(vector, largest, length, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        cycles += Mpi_Wtime() - start;
    }
    int good = 1;
    for (int i = 0; i < length; i++)
        good &= largest[i] == size - 1 + i / 2.0;
    tell("MPI_ALLREDUCE", length, cycles, good);
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
