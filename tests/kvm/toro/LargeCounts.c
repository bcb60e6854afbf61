/* The operations whose counts are MPI_Count do what those of int do, and count beyond it. */
#include <mpi.h>
#include <stdio.h>

#define HUGE ((MPI_Count)1 << 33)

static int rank, size, next, before, wrong;
static MPI_Request request;

static void check_at(int holds, const char *what, int line)
{
    if (!holds) {
        printf("rank %d, line %d: %s\n", rank, line, what);
        wrong++;
    }
}
#define check(what) check_at(what, #what, __LINE__)
#define END MPI_Wait(&request, MPI_STATUS_IGNORE)

static void messages(void)
{
    int out[2] = {rank, rank + 1}, in[2] = {-1, -1}, flag;
    MPI_Request receiving;
    MPI_Message message, same;
    MPI_Status status;
    MPI_Count count;

    MPI_Irecv_c(in, 2, MPI_INT, before, 0, MPI_COMM_WORLD, &receiving);
    MPI_Send_c(out, 2, MPI_INT, next, 0, MPI_COMM_WORLD);
    check(MPI_Request_f2c(MPI_Request_c2f(receiving)) == receiving);
    MPI_Wait(&receiving, &status);
    MPI_Get_count_c(&status, MPI_INT, &count);
    check(in[0] == before && in[1] == before + 1 && count == 2);

    MPI_Isend_c(out, 2, MPI_INT, next, 1, MPI_COMM_WORLD, &request);
    MPI_Mprobe(before, 1, MPI_COMM_WORLD, &message, &status);
    same = MPI_Message_f2c(MPI_Message_c2f(message));
    check(same == message && MPI_Message_f2c(MPI_Message_c2f(MPI_MESSAGE_NO_PROC)) == MPI_MESSAGE_NO_PROC);
    MPI_Mrecv_c(in, 2, MPI_INT, &same, &status);
    END;
    check(in[1] == before + 1 && same == MPI_MESSAGE_NULL);

    MPI_Sendrecv_c(out, 1, MPI_INT, before, 2, in, 2, MPI_INT, next, 2, MPI_COMM_WORLD, &status);
    MPI_Get_elements_c(&status, MPI_INT, &count);
    check(in[0] == next && count == 1);
    MPI_Isendrecv_replace_c(in, 1, MPI_INT, next, 3, before, 3, MPI_COMM_WORLD, &request);
    END;
    check(in[0] == rank);

    /* Elements without bytes: as many as one likes */
    MPI_Datatype nothing;
    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Type_commit(&nothing);
    MPI_Issend_c(in, HUGE, nothing, next, 4, MPI_COMM_WORLD, &request);
    MPI_Recv_c(in, HUGE, nothing, before, 4, MPI_COMM_WORLD, &status);
    END;
    MPI_Status_set_elements_c(&status, MPI_INT, HUGE);
    MPI_Get_count_c(&status, MPI_INT, &count);
    MPI_Get_count(&status, MPI_INT, &flag);
    check(count == HUGE && flag == MPI_UNDEFINED);
    MPI_Type_size_c(MPI_INT, &count);
    check(count == sizeof(int));
    MPI_Type_free(&nothing);
}

static void add(void *in, void *inout, MPI_Count *count, MPI_Datatype *type)
{
    for (MPI_Count i = 0; i < *count && *type == MPI_INT; i++)
        ((int *)inout)[i] += ((int *)in)[i];
}

static void collectives(void)
{
    enum { RANKS = 8 };
    int value = rank == size - 1 ? 7 : 0, out[RANKS], in[2 * RANKS], sum = size * (size - 1) / 2;
    MPI_Count counts[RANKS];
    MPI_Aint places[RANKS];
    MPI_Datatype types[RANKS];
    MPI_Op operation;

    MPI_Bcast_c(&value, 1, MPI_INT, size - 1, MPI_COMM_WORLD);
    check(value == 7);
    MPI_Op_create_c(add, 1, &operation);
    MPI_Allreduce_c(&rank, &value, 1, MPI_INT, operation, MPI_COMM_WORLD);
    check(value == sum);
    MPI_Op_free(&operation);
    MPI_Iscan_c(&rank, &value, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &request);
    END;
    check(value == rank * (rank + 1) / 2);
    MPI_Allgather_c(&rank, 1, MPI_INT, in, 1, MPI_INT, MPI_COMM_WORLD);
    check(in[0] == 0 && in[size - 1] == size - 1);

    /* Each rank's part goes to every second place, from the last to the first. */
    for (int i = 0; i < size; i++) {
        out[i] = 10 * rank + i;
        counts[i] = 1;
        places[i] = 2 * (size - 1 - i);
        in[2 * i] = in[2 * i + 1] = -1;
    }
    MPI_Gatherv_c(&rank, 1, MPI_INT, in, counts, places, MPI_INT, 0, MPI_COMM_WORLD);
    check(rank || (in[0] == size - 1 && in[1] == -1 && in[2 * size - 2] == 0));
    MPI_Scatterv_c(in, counts, places, MPI_INT, &value, 1, MPI_INT, 0, MPI_COMM_WORLD);
    check(value == rank);
    for (int i = 0; i < size; i++)
        places[i] = i;
    MPI_Ialltoallv_c(out, counts, places, MPI_INT, in, counts, places, MPI_INT, MPI_COMM_WORLD, &request);
    END;
    check(in[0] == rank && in[size - 1] == 10 * (size - 1) + rank);
    for (int i = 0; i < size; i++) {
        places[i] = i * sizeof(int); /* bytes */
        types[i] = MPI_INT;
        in[i] = -1;
    }
    MPI_Alltoallw_c(out, counts, places, types, in, counts, places, types, MPI_COMM_WORLD);
    check(in[0] == rank && in[size - 1] == 10 * (size - 1) + rank);
    for (int i = 0; i < size; i++)
        out[i] = i;
    MPI_Reduce_scatter_c(out, &value, counts, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    check(value == size * rank);
    MPI_Bcast_init_c(&value, 1, MPI_INT, 0, MPI_COMM_WORLD, MPI_INFO_NULL, &request);
    MPI_Start(&request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Request_free(&request);
    check(value == 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    next = (rank + 1) % size;
    before = (rank + size - 1) % size;
    messages();
    collectives();
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && !wrong)
        printf("all right\n");
    MPI_Finalize();
    return wrong;
}
