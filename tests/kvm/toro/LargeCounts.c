/* The operations whose counts are MPI_Count do what those of int do, and count beyond it. */
#include "checks.h"

#define HUGE ((MPI_Count)1 << 33)

static MPI_Request request;
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

enum { CELLS = 64 };

/* Whether two types, which are freed, describe the same. */
static int same(MPI_Datatype a, MPI_Datatype b)
{
    int cells[CELLS], packed[2][CELLS] = {{0}}, in[CELLS] = {0};
    MPI_Count lower[2], extent[2], size[2], end = 0, start = 0;
    MPI_Type_get_extent_c(a, &lower[0], &extent[0]);
    MPI_Type_get_extent_c(b, &lower[1], &extent[1]);
    MPI_Pack_size_c(1, a, MPI_COMM_WORLD, &size[0]);
    MPI_Pack_size_c(1, b, MPI_COMM_WORLD, &size[1]);
    for (int i = 0; i < CELLS; i++)
        cells[i] = i + 1;
    MPI_Pack(cells, 1, a, packed[0], sizeof packed[0], &(int){0}, MPI_COMM_WORLD);
    MPI_Pack_c(cells, 1, b, packed[1], sizeof packed[1], &end, MPI_COMM_WORLD);
    MPI_Unpack_c(packed[1], end, &start, in, 1, b, MPI_COMM_WORLD);
    for (int i = 0; i < CELLS; i++) {
        check(packed[0][i] == packed[1][i]);
        check(!in[i] || in[i] == cells[i]);
    }
    MPI_Type_free(&a);
    MPI_Type_free(&b);
    check(end && end == size[0] && start == end);
    return lower[0] == lower[1] && extent[0] == extent[1] && size[0] == size[1];
}

static void types(void)
{
    MPI_Count lengths[] = {2, 1}, offsets[] = {3, 7}, bytes[] = {40, 4}, sizes[] = {5, 6}, parts[] = {2, 3},
              starts[] = {1, 2}, size, lower, extent, nones, none, counts, olds;
    int few_lengths[] = {2, 1}, few_offsets[] = {3, 7}, few_sizes[] = {5, 6}, few_parts[] = {2, 3},
        few_starts[] = {1, 2}, grid[] = {2, 1}, spread[] = {MPI_DISTRIBUTE_CYCLIC, MPI_DISTRIBUTE_BLOCK}, arguments[] = {2, 6}, few, combiner;
    MPI_Aint few_bytes[] = {40, 4};
    MPI_Datatype a, b, pair[] = {MPI_INT, MPI_CHAR};

    MPI_Type_contiguous(3, MPI_INT, &a);
    MPI_Type_contiguous_c(3, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_vector(2, 3, 5, MPI_INT, &a);
    MPI_Type_vector_c(2, 3, 5, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_create_hvector(2, 3, 20, MPI_INT, &a);
    MPI_Type_create_hvector_c(2, 3, 20, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_indexed(2, few_lengths, few_offsets, MPI_INT, &a);
    MPI_Type_indexed_c(2, lengths, offsets, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_create_hindexed(2, few_lengths, few_bytes, MPI_INT, &a);
    MPI_Type_create_hindexed_c(2, lengths, bytes, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_create_indexed_block(2, 2, few_offsets, MPI_INT, &a);
    MPI_Type_create_indexed_block_c(2, 2, offsets, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_create_hindexed_block(2, 2, few_bytes, MPI_INT, &a);
    MPI_Type_create_hindexed_block_c(2, 2, bytes, MPI_INT, &b);
    check(same(a, b));
    MPI_Type_create_struct(2, few_lengths, few_bytes, pair, &a);
    MPI_Type_create_struct_c(2, lengths, bytes, pair, &b);
    check(same(a, b));
    MPI_Type_create_resized(MPI_INT, -4, 16, &a);
    MPI_Type_create_resized_c(MPI_INT, -4, 16, &b);
    check(same(a, b));
    for (int order = MPI_ORDER_C; order <= MPI_ORDER_FORTRAN; order++) {
        MPI_Type_create_subarray(2, few_sizes, few_parts, few_starts, order, MPI_INT, &a);
        MPI_Type_create_subarray_c(2, sizes, parts, starts, order, MPI_INT, &b);
        check(same(a, b));
        MPI_Type_create_darray(2, 1, 2, few_sizes, spread, arguments, grid, order, MPI_INT, &a);
        MPI_Type_create_darray_c(2, 1, 2, sizes, spread, arguments, grid, order, MPI_INT, &b);
        check(same(a, b));
    }

    /* What they were made with, which only the calls with large counts tell. */
    MPI_Type_create_darray(2, 1, 2, few_sizes, spread, arguments, grid, MPI_ORDER_C, MPI_INT, &a);
    MPI_Type_get_envelope_c(a, &nones, &none, &counts, &olds, &combiner);
    check(nones == 12 && !none && !counts && olds == 1 && combiner == MPI_COMBINER_DARRAY);
    MPI_Type_free(&a);
    MPI_Type_create_hindexed_c(2, lengths, bytes, MPI_INT, &a);
    MPI_Type_get_envelope_c(a, &nones, &none, &counts, &olds, &combiner);
    check(!nones && !none && counts == 5 && olds == 1 && combiner == MPI_COMBINER_HINDEXED);
    MPI_Type_get_contents_c(a, 0, 0, 5, 1, NULL, NULL, sizes, &b);
    check(b == MPI_INT);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Type_get_envelope(a, &few, &few, &few, &combiner) == MPI_ERR_TYPE);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    MPI_Type_free(&a);

    MPI_Type_contiguous_c(HUGE, MPI_INT, &a);
    MPI_Type_vector_c(2, 1, HUGE, MPI_CHAR, &b);
    MPI_Type_size_c(a, &size);
    MPI_Type_size(a, &few);
    MPI_Type_get_true_extent_c(b, &lower, &extent);
    check(size == HUGE * (MPI_Count)sizeof(int) && few == MPI_UNDEFINED && !lower && extent == HUGE + 1);
    MPI_Pack_size_c(2, a, MPI_COMM_WORLD, &extent);
    check(extent == 2 * size);
    MPI_Type_free(&a);
    MPI_Type_free(&b);
}

static void windows(void)
{
    int *memory, *of_next, out[2] = {rank, 10}, in[2] = {-1, -1}, few;
    MPI_Aint bytes, unit;
    MPI_Win win;

    MPI_Win_allocate_shared_c(2 * sizeof(int), (MPI_Aint)sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &memory, &win);
    MPI_Win_shared_query_c(win, next, &bytes, &unit, &of_next);
    check(bytes == 2 * sizeof(int) && unit == sizeof(int) && (size > 1 || of_next == memory));
    MPI_Win_shared_query(win, next, &bytes, &few, &of_next);
    check(few == sizeof(int));
    MPI_Win_fence(0, win);
    MPI_Put_c(out, 2, MPI_INT, next, 0, 2, MPI_INT, win);
    MPI_Win_fence(0, win);
    check(memory[0] == before && memory[1] == 10);
    MPI_Win_fence(0, win);
    MPI_Accumulate_c(out, 1, MPI_INT, next, 1, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_fence(0, win);
    MPI_Get_c(in, 2, MPI_INT, next, 0, 2, MPI_INT, win);
    MPI_Win_fence(0, win);
    check(in[0] == rank && in[1] == 10 + rank && memory[1] == 10 + before);
    MPI_Win_free(&win);
    MPI_Win_allocate_shared(0, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &memory, &win);
    MPI_Win_shared_query(win, next, &bytes, &few, &of_next);
    check(bytes == 0 && !of_next);
    MPI_Win_free(&win);

    MPI_Win_allocate_c(sizeof(int), 1, MPI_INFO_NULL, MPI_COMM_WORLD, &memory, &win);
    *memory = 1;
    MPI_Win_fence(0, win);
    MPI_Get_accumulate_c(out, 1, MPI_INT, in, 1, MPI_INT, next, 0, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_fence(0, win);
    check(in[0] == 1 && *memory == 1 + before);
    MPI_Win_free(&win);

    in[0] = 1;
    MPI_Win_create_c(in, sizeof in, (MPI_Aint)sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Win_lock_all(0, win);
    MPI_Raccumulate_c(&out[1], 1, MPI_INT, next, 0, 1, MPI_INT, MPI_SUM, win, &request);
    END;
    MPI_Barrier(MPI_COMM_WORLD);
    check(in[0] == 11);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Rput_c(out, 1, MPI_INT, next, 1, 1, MPI_INT, win, &request);
    END;
    MPI_Rget_accumulate_c(NULL, 0, MPI_INT, out, 1, MPI_INT, next, 1, 1, MPI_INT, MPI_NO_OP, win, &request);
    END;
    check(out[0] == rank);
    MPI_Rget_c(out, 1, MPI_INT, next, 0, 1, MPI_INT, win, &request);
    END;
    check(out[0] == 11);
    MPI_Win_unlock_all(win);
    MPI_Win_free(&win);
}

int main(int argc, char **argv)
{
    begin_checks(&argc, &argv);
    messages();
    collectives();
    types();
    windows();
    return end_checks();
}
