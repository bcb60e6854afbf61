/* MPI_Comm_idup waits for no other rank: the first of each communicator begins when all others have. */
#include <mpi.h>
#include <stdio.h>

/* How many of two copies work. */
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

int main(int argc, char **argv)
{
    int rank, size, others, right = 0, all = 2;
    MPI_Comm half, inter;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    right += duplicate(MPI_COMM_WORLD, rank, size);
    if (size > 1) {
        MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, !(rank % 2), 0, &inter);
        MPI_Comm_remote_size(inter, &others);
        right += duplicate(inter, rank / 2, others);
        MPI_Comm_free(&inter);
        MPI_Comm_free(&half);
        all = 4;
    }
    printf("rank %d: %s\n", rank, right == all ? "right" : "wrong");
    MPI_Finalize();
}
