/* A program with a call of its own in the place of MPI_Send, as tools have it. */
#include <mpi.h>
#include <stdio.h>

static int sent;

int MPI_Send(const void *data, int count, MPI_Datatype type, int destination, int tag, MPI_Comm comm)
{
    sent += count;
    return PMPI_Send(data, count, type, destination, tag, comm);
}

int main(int argc, char **argv)
{
    int rank, value = 5;
    MPI_Init(&argc, &argv);
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 1)
        MPI_Send(&value, 1, MPI_INT, 0, 0, MPI_COMM_WORLD);
    else
        PMPI_Recv_c(&value, 1, MPI_INT, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    PMPI_Allreduce(MPI_IN_PLACE, &sent, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("sent %d, got %d\n", sent, value);
    return MPI_Finalize();
}
