/* MPI_Comm_idup waits for no other rank, and goes on beside others and beside collective operations. */
#include <mpi.h>
#include <stdio.h>

/* How many of two copies work, if the first rank begins when all others have. */
static int duplicate(MPI_Comm comm, int rank, int others)
{
    MPI_Comm copies[2];
    MPI_Request requests[2];
    int one = 1, sum, right = 0;
    for (int i = 1; rank == 0 && i < others; i++)
        MPI_Recv(&one, 1, MPI_INT, i, 0, comm, MPI_STATUS_IGNORE);
    for (int i = 0; i < 2; i++)
        MPI_Comm_idup(comm, &copies[i], &requests[i]);
    if (rank)
        MPI_Ssend(&one, 1, MPI_INT, 0, 0, comm);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    for (int i = 1; i >= 0; i--) {
        MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, copies[i]);
        right += sum == others;
        MPI_Comm_free(&copies[i]);
    }
    return right;
}

/* Whether operations that are begun at once are right. */
static int begin_all(MPI_Comm comm, int others)
{
    enum { MANY = 5 };
    MPI_Comm copies[MANY];
    MPI_Request requests[3 * MANY];
    int one = 1, sums[MANY], right = 0;
    for (int i = 0; i < MANY; i++) {
        MPI_Iallreduce(&one, &sums[i], 1, MPI_INT, MPI_SUM, comm, &requests[3 * i]);
        MPI_Comm_idup(comm, &copies[i], &requests[3 * i + 1]);
        MPI_Ibarrier(comm, &requests[3 * i + 2]);
    }
    MPI_Waitall(3 * MANY, requests, MPI_STATUSES_IGNORE);
    for (int i = 0; i < MANY; i++) {
        right += sums[i] == others;
        MPI_Comm_free(&copies[i]);
    }
    return right == MANY;
}

int main(int argc, char **argv)
{
    int rank, size, others, right = 0, all = 3;
    MPI_Comm half, inter;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    right += duplicate(MPI_COMM_WORLD, rank, size) + begin_all(MPI_COMM_WORLD, size);
    if (size > 1) {
        MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, !(rank % 2), 0, &inter);
        MPI_Comm_remote_size(inter, &others);
        right += duplicate(inter, rank / 2, others) + begin_all(inter, others);
        MPI_Comm_free(&inter);
        MPI_Comm_free(&half);
        all = 6;
    }
    printf("rank %d: %s\n", rank, right == all ? "right" : "wrong");
    MPI_Finalize();
}
