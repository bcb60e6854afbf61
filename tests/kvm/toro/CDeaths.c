/* Ends of C programs, by the word on the command line. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int depth(int n)
{
    volatile char large[300000];
    large[0] = n;
    return n ? depth(n - 1) + large[0] : large[0];
}

int main(int argc, char **argv)
{
    int rank, data[4] = {0};
    const char *how = argv[argc - 1];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 1) {
        if (!strcmp(how, "exit"))
            exit(7);
        if (!strcmp(how, "abort"))
            abort();
        if (!strcmp(how, "mpi-abort"))
            MPI_Abort(MPI_COMM_WORLD, 9);
        if (!strcmp(how, "stack"))
            return depth(40);
        if (!strcmp(how, "rank"))
            MPI_Send(data, 1, MPI_INT, 5, 0, MPI_COMM_WORLD);
        if (!strcmp(how, "truncate"))
            MPI_Recv(data, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    if (rank == 0 && !strcmp(how, "truncate"))
        MPI_Send(data, 4, MPI_INT, 1, 0, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
