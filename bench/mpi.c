/* How long messages and collective operations take: one program for every MPI. Prints a row each:
 * what, bytes, and the median and least time in ns. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST (4 << 20)
#define SAMPLES_MAX 5000
#define BURST 100

static int rank;
static double samples[SAMPLES_MAX];
static char *out, *in;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, int bytes, int count, int divisor)
{
    if (rank)
        return;
    qsort(samples, count, sizeof *samples, compare);
    printf("%s %d %.1f %.1f\n", what, bytes, samples[count / 2] * 1e9 / divisor, samples[0] * 1e9 / divisor);
}

/* Half the time of a number that one rank writes and of another that answers it, in shared memory: what no message can be
 * faster than. */
static void flag(int count)
{
    volatile long *flags;
    MPI_Aint size;
    MPI_Win win;
    int unit;
    MPI_Win_allocate_shared(rank ? 0 : 512, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &flags, &win);
    MPI_Win_shared_query(win, 0, &size, &unit, &flags);
    if (rank == 0)
        flags[0] = flags[32] = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 1; i <= count; i++) {
        double start = MPI_Wtime();
        if (rank == 0)
            flags[0] = i;
        while (flags[rank ? 0 : 32] != i)
            ;
        if (rank)
            flags[32] = i;
        samples[i - 1] = MPI_Wtime() - start;
    }
    report("flag", 0, count, 2);
    MPI_Win_free(&win);
}

/* Half the time of a message and its answer. Each has fresh contents. */
static void ping_pong(int bytes, int count)
{
    for (int i = 0; i < count; i++) {
        memset(out, i, bytes);
        if (rank == 0) {
            double start = MPI_Wtime();
            MPI_Send(out, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
            MPI_Recv(in, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            samples[i] = MPI_Wtime() - start;
        } else {
            MPI_Recv(in, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(out, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
        }
    }
    report("ping-pong", bytes, count, 2);
}

/* The time of one among many messages in the same direction. */
static void stream(int bytes, int count)
{
    for (int i = 0; i < count; i++) {
        double start = MPI_Wtime();
        for (int j = 0; j < BURST; j++)
            if (rank == 0)
                MPI_Send(out, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
            else
                MPI_Recv(in, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (rank == 0)
            MPI_Recv(in, 1, MPI_BYTE, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else
            MPI_Send(out, 1, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
        samples[i] = MPI_Wtime() - start;
    }
    report("stream", bytes, count, BURST);
}

static void barrier(int count)
{
    for (int i = 0; i < count; i++) {
        double start = MPI_Wtime();
        MPI_Barrier(MPI_COMM_WORLD);
        samples[i] = MPI_Wtime() - start;
    }
    report("barrier", 0, count, 1);
}

static void allreduce(int numbers, int count)
{
    for (int i = 0; i < count; i++) {
        double start = MPI_Wtime();
        MPI_Allreduce(out, in, numbers, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        samples[i] = MPI_Wtime() - start;
    }
    report("allreduce", numbers * (int)sizeof(double), count, 1);
}

static void alltoall(int bytes, int count)
{
    for (int i = 0; i < count; i++) {
        double start = MPI_Wtime();
        MPI_Alltoall(out, bytes, MPI_BYTE, in, bytes, MPI_BYTE, MPI_COMM_WORLD);
        samples[i] = MPI_Wtime() - start;
    }
    report("alltoall", bytes, count, 1);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    out = calloc(2, LARGEST);
    in = calloc(2, LARGEST);
    memset(out, 1, 2 * LARGEST);
    memset(in, 1, 2 * LARGEST);
    flag(2000);
    for (int bytes = 8; bytes <= LARGEST; bytes *= bytes < 4096 ? 8 : 4)
        ping_pong(bytes, bytes <= 65536 ? 2000 : 100);
    stream(8, 100);
    stream(4096, 100);
    stream(65536, 50);
    stream(1 << 20, 5);
    barrier(SAMPLES_MAX);
    allreduce(1, SAMPLES_MAX);
    allreduce(8192, 500);
    alltoall(8, SAMPLES_MAX);
    alltoall(65536, 500);
    MPI_Finalize();
    return 0;
}
