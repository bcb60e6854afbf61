/* Copies bytes from rank 0 to all others. */
#include "timing.h"

#include <string.h>

#define LONGEST 65536

static int run(int length)
{
    int rank, good = 1;
    char data[LONGEST];
    long cycles = 0;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int round = 0; round < ROUNDS; round++) {
        memset(data, rank == 0 ? round : -1, length);
        MPI_Barrier(MPI_COMM_WORLD);
        unsigned long start = Mpi_Wtime();
        MPI_Bcast(data, length, MPI_CHAR, 0, MPI_COMM_WORLD);
        cycles += Mpi_Wtime() - start;
        good &= data[0] == round && data[length - 1] == round;
    }
    tell("MPI_BCAST", length, cycles, good);
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
