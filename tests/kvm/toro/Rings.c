/* Messages of all sizes, answered one by one and in bursts: rings change their size meanwhile, and lead from one to the
 * other. Each message has contents of its own and comes in its turn. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define LONGEST 1600
#define ROUNDS 60

static int rank, size;
static unsigned char out[LONGEST], in[LONGEST];
static unsigned sent[8], received[8]; /* messages to and from each rank */

/* The same numbers on all ranks. */
static unsigned number(void)
{
    static unsigned state = 1;
    return (state = state * 1103515245 + 12345) >> 8;
}

static void send(int to, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = sent[to] * 7 + i + rank;
    MPI_Send(out, bytes, MPI_BYTE, to, sent[to]++ & 0xffff, MPI_COMM_WORLD);
}

static void receive(int from, int bytes)
{
    MPI_Status status;
    int count;
    MPI_Recv(in, LONGEST, MPI_BYTE, from, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, MPI_BYTE, &count);
    if (count != bytes || status.MPI_TAG != (int)(received[from] & 0xffff) || status.MPI_SOURCE != from) {
        printf("rank %d: %d bytes with tag %d for %d bytes, tag %u\n", rank, count, status.MPI_TAG, bytes, received[from]);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int i = 0; i < bytes; i++)
        if (in[i] != (unsigned char)(received[from] * 7 + i + from)) {
            printf("rank %d: byte %d of message %u\n", rank, i, received[from]);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    received[from]++;
}

/* As many messages from one rank to another at a time, and back. */
static void pass(int from, int to, int times, int burst, int most)
{
    for (int i = 0; i < times; i++)
        for (int way = 0; way < 2; way++) {
            for (int j = 0; j < burst; j++) {
                int bytes = number() % (most + 1);
                if (rank == (way ? to : from))
                    send(way ? from : to, bytes);
                if (rank == (way ? from : to))
                    receive(way ? to : from, bytes);
            }
        }
}

int main(int argc, char **argv)
{
    static const int sizes[] = {0, 8, 48, 64, 96, 110, 600, LONGEST};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int round = 0; round < ROUNDS; round++) {
        int from = number() % size, to = (from + 1 + number() % (size - 1)) % size;
        int burst = round % 3 ? 1 : 1 + number() % 300;
        pass(from, to, burst > 1 ? 3 : size > 2 ? 100 : 1000, burst, sizes[number() % (sizeof sizes / sizeof *sizes)]);
    }
    long own = rank, sum, all[8], parts[8];
    for (int i = 0; i < 300; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_Allreduce(&own, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        for (int j = 0; j < size; j++)
            parts[j] = 100 * rank + j;
        MPI_Alltoall(parts, 1, MPI_LONG, all, 1, MPI_LONG, MPI_COMM_WORLD);
        for (int j = 0; j < size; j++)
            if (all[j] != 100 * j + rank || sum != size * (size - 1) / 2)
                MPI_Abort(MPI_COMM_WORLD, 2);
    }
    if (rank == 0)
        printf("all in order\n");
    MPI_Finalize();
    return 0;
}
