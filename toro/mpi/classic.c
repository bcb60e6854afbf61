/* Routines of earlier versions of Toro: for vectors of int, on all ranks. */
#include "internal.h"

void Mpi_Barrier(int comm)
{
    mpi_start();
    MPI_Barrier(comm);
}

void Mpi_Bcast(void *data, int count, int root)
{
    mpi_start();
    MPI_Bcast(data, count, MPI_INT, root, MPI_COMM_WORLD);
}

int Mpi_Scatter(void *send, int count, void *receive, int *bytes, int root)
{
    mpi_start();
    int part = count / mpi_size;
    *bytes = part * sizeof(int);
    return MPI_Scatter(send, part, MPI_INT, receive, part, MPI_INT, root, MPI_COMM_WORLD);
}

int Mpi_Gather(void *send, int count, void *receive, int *bytes, int root)
{
    mpi_start();
    *bytes = count * sizeof(int);
    return MPI_Gather(send, count, MPI_INT, receive, count, MPI_INT, root, MPI_COMM_WORLD);
}

int Mpi_Reduce(void *send, void *receive, int count, int operation, int root)
{
    mpi_start();
    return MPI_Reduce(send == receive && mpi_rank == root ? MPI_IN_PLACE : send, receive, count, MPI_INT, operation,
                      root, MPI_COMM_WORLD);
}

int Mpi_AllReduce(void *send, void *receive, int count, int operation, int root)
{
    (void)root;
    mpi_start();
    return MPI_Allreduce(send == receive ? MPI_IN_PLACE : send, receive, count, MPI_INT, operation, MPI_COMM_WORLD);
}

int Mpi_Send(void *data, int count, int destination)
{
    mpi_start();
    return MPI_Send(data, count, MPI_BYTE, destination, 0, MPI_COMM_WORLD);
}

int Mpi_Recv(void *data, int count, int source)
{
    mpi_start();
    return MPI_Recv(data, count, MPI_BYTE, source, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

unsigned long Mpi_Wtime(void)
{
    return ticks();
}
