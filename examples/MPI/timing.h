/* Measures a collective operation: each rank takes the mean of ROUNDS calls, and rank 0 prints
 * the minimum, maximum and mean of these. */
#include <mpi.h>
#include <stdio.h>

#define ROUNDS 100

static void tell(const char *name, int length, long cycles, int good)
{
    int rank, size;
    long mean = cycles / ROUNDS, least, most, sum;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Reduce(&mean, &least, 1, MPI_LONG, MPI_MIN, 0, MPI_COMM_WORLD);
    MPI_Reduce(&mean, &most, 1, MPI_LONG, MPI_MAX, 0, MPI_COMM_WORLD);
    MPI_Reduce(&mean, &sum, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (rank == 0 && good)
        printf("%s(%d): min_time: %ld cycles, max_time: %ld cycles, avg_time: %ld cycles\n", name, length, least, most,
               sum / size);
    else if (rank == 0)
        printf("%s(%d): verification has failed\n", name, length);
}
