/* Sends go on, however many, to a rank that does not receive meanwhile. */
#include <mpi.h>
#include <stdio.h>

#define MESSAGES 20000

int main(int argc, char **argv)
{
    volatile int *sent;
    int rank, unit, value, wrong = 0;
    MPI_Aint size;
    MPI_Win win;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Win_allocate_shared(rank ? 0 : sizeof *sent, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &sent, &win);
    MPI_Win_shared_query(win, 0, &size, &unit, &sent);
    if (rank == 0)
        *sent = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        for (int i = 0; i < MESSAGES; i++)
            MPI_Send(&i, 1, MPI_INT, 1, 0, MPI_COMM_WORLD);
        *sent = 1;
    } else {
        while (!*sent)
            ;
        for (int i = 0; i < MESSAGES; i++) {
            MPI_Recv(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            wrong += value != i;
        }
        printf("%d wrong\n", wrong);
    }
    MPI_Win_free(&win);
    return MPI_Finalize();
}
