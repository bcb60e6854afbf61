/* A program as for any MPI: each rank tells of itself, and they compute together. */
#include <limits.h>
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 1000000

struct item {
    int64_t number;
    char text[60000];
};

/* Needs a stack that is aligned to 16, as every function may take for granted. */
static int is_aligned(void)
{
    __attribute__((aligned(16))) volatile char here[16];
    return ((uintptr_t)here & 15) == 0;
}

int main(int argc, char **argv)
{
    int rank, size, count, good;
    double part = 0, pi;
    MPI_Status status;
    struct item *item = calloc(1, sizeof *item);

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    printf("rank %d of %d: %d words, the last is %s\n", rank, size, argc, argv[argc - 1]);
    MPI_Barrier(MPI_COMM_WORLD);

    for (int i = rank; i < STEPS; i += size) {
        double x = (i + 0.5) / STEPS;
        part += 4 / (1 + x * x);
    }
    MPI_Reduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("pi is %.9f\n", pi / STEPS);

    /* Around the ring. */
    if (rank == 0) {
        item->number = INT64_C(1) << 40;
        strcpy(item->text + 59000, "once around");
        MPI_Send(item, sizeof *item, MPI_BYTE, (rank + 1) % size, 7, MPI_COMM_WORLD);
    }
    MPI_Recv(item, sizeof *item, MPI_BYTE, MPI_ANY_SOURCE, 7, MPI_COMM_WORLD, &status);
    item->number += rank;
    if (rank != 0)
        MPI_Send(item, sizeof *item, MPI_BYTE, (rank + 1) % size, 7, MPI_COMM_WORLD);
    MPI_Get_count(&status, MPI_BYTE, &count);
    good = is_aligned() && count == sizeof *item && status.MPI_SOURCE == (rank + size - 1) % size &&
           1.0 / (rank - rank) > INT_MAX && sqrt(rank * rank) == rank;
    MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%s, %ld, %s\n", item->text + 59000, (long)(item->number - (INT64_C(1) << 40)), good ? "good" : "bad");
    free(item);
    MPI_Finalize();
    return rank == size - 1 ? 3 : 0;
}
