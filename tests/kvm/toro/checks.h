/* What the test programs of MPI find wrong: a line for each, and the exit status. */
#ifndef CHECKS_H
#define CHECKS_H

#include <mpi.h>
#include <stdio.h>

static int rank, size, next, before, wrong;

static inline void check_at(int holds, const char *what, int line)
{
    if (!holds) {
        printf("rank %d, line %d: %s\n", rank, line, what);
        wrong++;
    }
}
#define check(what) check_at(what, #what, __LINE__)

static inline void begin_checks(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    next = (rank + 1) % size;
    before = (rank + size - 1) % size;
}

static inline int end_checks(void)
{
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && !wrong)
        printf("all right\n");
    MPI_Finalize();
    return wrong != 0;
}

#endif
