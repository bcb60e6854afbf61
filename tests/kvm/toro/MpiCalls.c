/* MPI as the standard has it: each call that programs use, with any number of ranks. */
#include "checks.h"

#include <stdlib.h>
#include <string.h>

#define LONG 300000

static void messages(void)
{
    static char out[LONG], in[LONG], buffer[1000];
    int lengths[] = {0, 1, 48, 49, 112, 113, 1024, 1025, 4096, 65536, 65537, LONG}, value, count, flag;
    MPI_Request requests[16];
    MPI_Status status, statuses[16];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(out, rank + i, lengths[i]);
        MPI_Isend(out, lengths[i], MPI_BYTE, next, i, MPI_COMM_WORLD, &requests[0]);
        MPI_Probe(before, i, MPI_COMM_WORLD, &status);
        MPI_Get_count(&status, MPI_BYTE, &count);
        check(count == lengths[i] && status.MPI_SOURCE == before && status.MPI_TAG == (int)i);
        MPI_Recv(in, LONG, MPI_BYTE, MPI_ANY_SOURCE, i, MPI_COMM_WORLD, &status);
        check(!lengths[i] || (in[0] == (char)(before + i) && in[lengths[i] - 1] == (char)(before + i)));
        MPI_Wait(&requests[0], MPI_STATUS_IGNORE);
        check(requests[0] == MPI_REQUEST_NULL);
        MPI_Sendrecv(out, lengths[i], MPI_BYTE, before, 50, in, LONG, MPI_BYTE, next, 50, MPI_COMM_WORLD, &status);
        MPI_Get_count(&status, MPI_BYTE, &count);
        check(count == lengths[i] && (!count || in[count - 1] == (char)(next + i)));
    }
    /* Synchronous, buffered and ready ones, in any order of completion; then messages overtake nobody. */
    for (int i = 0; i < 4; i++)
        MPI_Irecv(&in[i * sizeof(int)], 1, MPI_INT, before, 10 + i, MPI_COMM_WORLD, &requests[i]);
    MPI_Barrier(MPI_COMM_WORLD);
    int values[4] = {rank, rank + 1, rank + 2, rank + 3};
    MPI_Buffer_attach(buffer, sizeof buffer);
    MPI_Issend(&values[0], 1, MPI_INT, next, 10, MPI_COMM_WORLD, &requests[4]);
    MPI_Ibsend(&values[1], 1, MPI_INT, next, 11, MPI_COMM_WORLD, &requests[5]);
    MPI_Irsend(&values[2], 1, MPI_INT, next, 12, MPI_COMM_WORLD, &requests[6]);
    MPI_Isend(&values[3], 1, MPI_INT, next, 13, MPI_COMM_WORLD, &requests[7]);
    MPI_Waitall(8, requests, statuses);
    for (int i = 0; i < 4; i++)
        check(((int *)in)[i] == before + i && statuses[i].MPI_TAG == 10 + i && statuses[i].MPI_ERROR == MPI_SUCCESS);
    void *attached;
    MPI_Buffer_detach(&attached, &count);
    check(attached == buffer && count == sizeof buffer);
    for (int i = 0; i < 600; i++) /* more than a ring holds */
        MPI_Isend(memcpy(&out[4 * i], &i, 4), 1, MPI_INT, next, 20, MPI_COMM_WORLD, &requests[0]),
            MPI_Request_free(&requests[0]);
    for (int i = 0; i < 600; i++) {
        MPI_Recv(&value, 1, MPI_INT, before, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        check(value == i && status.MPI_TAG == 20);
    }
    MPI_Recv(&value, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD, &status);
    check(status.MPI_SOURCE == MPI_PROC_NULL && status.MPI_TAG == MPI_ANY_TAG);
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, &status);
    check(!flag);
    /* Cancelled: a receive, and a send that nobody has received. */
    MPI_Irecv(in, 1, MPI_INT, before, 99, MPI_COMM_WORLD, &requests[0]);
    MPI_Cancel(&requests[0]);
    MPI_Wait(&requests[0], &status);
    MPI_Test_cancelled(&status, &flag);
    check(flag);
    MPI_Issend(out, LONG, MPI_BYTE, next, 98, MPI_COMM_WORLD, &requests[0]);
    MPI_Cancel(&requests[0]);
    MPI_Wait(&requests[0], &status);
    MPI_Test_cancelled(&status, &flag);
    check(flag);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Iprobe(before, 98, MPI_COMM_WORLD, &flag, &status);
    check(!flag);
    /* Persistent ones, and those of which one is done. */
    MPI_Recv_init(&value, 1, MPI_INT, before, 30, MPI_COMM_WORLD, &requests[0]);
    MPI_Send_init(&count, 1, MPI_INT, next, 30, MPI_COMM_WORLD, &requests[1]);
    for (count = 0; count < 3; count++) {
        MPI_Startall(2, requests);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        check(value == count);
    }
    MPI_Request_free(&requests[0]);
    MPI_Request_free(&requests[1]);
    MPI_Irecv(in, 1, MPI_INT, before, 31, MPI_COMM_WORLD, &requests[0]);
    MPI_Irecv(in + 4, 1, MPI_INT, before, 32, MPI_COMM_WORLD, &requests[1]);
    MPI_Send(&rank, 1, MPI_INT, next, 32, MPI_COMM_WORLD);
    MPI_Waitany(2, requests, &value, &status);
    check(value == 1 && status.MPI_TAG == 32);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Send(&rank, 1, MPI_INT, next, 31, MPI_COMM_WORLD);
    MPI_Waitsome(2, requests, &count, &value, statuses);
    check(count == 1 && value == 0 && statuses[0].MPI_TAG == 31);
    MPI_Testall(2, requests, &flag, MPI_STATUSES_IGNORE);
    check(flag);
}

/* Messages that take several lines of a ring: of every length, in both directions at once, received late, in part, as a
 * derived type, and more than the ring holds. */
static void lines(void)
{
    enum { LONGEST = 1100, MANY = 40 };
    static unsigned char out[MANY][LONGEST], in[MANY][LONGEST];
    MPI_Request requests[2 * MANY];
    MPI_Datatype pairs;
    MPI_Status status;
    int count;

    for (int i = 0; i < MANY; i++)
        for (int j = 0; j < LONGEST; j++)
            out[i][j] = 31 * rank + 7 * i + j;
    for (int bytes = 40; bytes <= LONGEST; bytes += 1 + bytes % 3) {
        MPI_Sendrecv(out[bytes % MANY], bytes, MPI_BYTE, next, bytes, in[0], LONGEST, MPI_BYTE, before, bytes, MPI_COMM_WORLD,
                     &status);
        MPI_Get_count(&status, MPI_BYTE, &count);
        check(count == bytes);
        for (int j = 0; j < bytes; j++)
            if (in[0][j] != (unsigned char)(31 * before + 7 * (bytes % MANY) + j)) {
                check(!"what was sent is received");
                break;
            }
    }
    for (int late = 0; late < 2; late++) {
        for (int i = 0; i < MANY && !late; i++)
            MPI_Irecv(in[i], LONGEST, MPI_BYTE, before, i, MPI_COMM_WORLD, &requests[i]);
        for (int i = 0; i < MANY; i++)
            MPI_Isend(out[i], LONGEST - 20 * i, MPI_BYTE, next, i, MPI_COMM_WORLD, &requests[MANY + i]);
        for (int i = 0; i < MANY && late; i++)
            MPI_Irecv(in[i], LONGEST, MPI_BYTE, before, i, MPI_COMM_WORLD, &requests[i]);
        MPI_Waitall(2 * MANY, requests, MPI_STATUSES_IGNORE);
        for (int i = 0; i < MANY; i++)
            check(in[i][0] == (unsigned char)(31 * before + 7 * i) &&
                  in[i][LONGEST - 20 * i - 1] == (unsigned char)(31 * before + 7 * i + LONGEST - 20 * i - 1));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_Type_vector(100, 4, 8, MPI_BYTE, &pairs);
    MPI_Type_commit(&pairs);
    memset(in, 0, sizeof in);
    MPI_Sendrecv(out[1], 400, MPI_BYTE, next, 0, in[0], 1, pairs, before, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    check(in[0][3] == (unsigned char)(31 * before + 7 + 3) && in[0][4] == 0 &&
          in[0][795] == (unsigned char)(31 * before + 7 + 399));
    MPI_Type_free(&pairs);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Sendrecv(out[2], 500, MPI_BYTE, next, 0, in[1], 300, MPI_BYTE, before, 0, MPI_COMM_WORLD, &status) ==
          MPI_ERR_TRUNCATE);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    check(in[1][299] == (unsigned char)(31 * before + 14 + 299) && in[1][300] == 0);
}

/* Copies within a line of the same place of a page, which `rep movsb` is not used for, and others. */
static void places(void)
{
    enum { LENGTH = 5000, PLACES = 70 };
    static unsigned char out[LENGTH + PLACES] __attribute__((aligned(4096)));
    static unsigned char in[LENGTH + PLACES] __attribute__((aligned(4096)));

    for (int place = 0; place < PLACES; place++) {
        for (int i = 0; i < LENGTH; i++)
            out[7 + i] = rank + place + 3 * i;
        memset(in, 0, sizeof in);
        MPI_Sendrecv(out + 7, LENGTH - place, MPI_BYTE, next, 0, in + place, LENGTH, MPI_BYTE, before, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        int good = in[LENGTH] == 0;
        for (int i = 0; i < LENGTH - place; i++)
            good &= in[place + i] == (unsigned char)(before + place + 3 * i);
        check(good);
    }
}

static void add_pairs(void *in, void *inout, int *count, MPI_Datatype *type)
{
    int *a = in, *b = inout;
    (void)type;
    for (int i = 0; i < *count; i++) /* does not commute: x -> b (a x) of linear functions */
        b[2 * i + 1] = b[2 * i] * a[2 * i + 1] + b[2 * i + 1], b[2 * i] *= a[2 * i];
}

static void collectives(void)
{
    int *all = malloc(4 * size * size * sizeof(int)), *counts = malloc(size * sizeof(int)),
        *offsets = malloc(size * sizeof(int)), mine[64], result[2], total = 0;
    struct {
        double value;
        int index;
    } pair = {(rank * 7) % 5, rank}, best;
    double x = rank + 0.5, sums[1000];
    MPI_Op operation;
    MPI_Datatype two;
    MPI_Request requests[4];

    for (int i = 0; i < size; i++) {
        counts[i] = i % 3;
        offsets[i] = total + i; /* with gaps */
        total += counts[i];
    }
    for (int i = 0; i < 64; i++)
        mine[i] = rank * 100 + i;
    for (int root = 0; root < size; root++) {
        memset(all, -1, 4 * size * size * sizeof(int));
        MPI_Gatherv(mine, rank % 3, MPI_INT, all, counts, offsets, MPI_INT, root, MPI_COMM_WORLD);
        for (int i = 0; rank == root && i < size; i++)
            for (int j = 0; j < counts[i]; j++)
                check(all[offsets[i] + j] == i * 100 + j);
        MPI_Scatterv(all, counts, offsets, MPI_INT, mine, rank % 3, MPI_INT, root, MPI_COMM_WORLD);
        check(rank % 3 < 1 || mine[0] == rank * 100);
    }
    MPI_Allgatherv(mine, rank % 3, MPI_INT, all, counts, offsets, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        check(!counts[i] || all[offsets[i]] == i * 100);
    for (int i = 0; i < size; i++)
        all[i] = rank * size + i;
    MPI_Alltoall(MPI_IN_PLACE, 1, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        check(all[i] == i * size + rank);
    MPI_Allreduce(&pair, &best, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD);
    int expected = 0;
    for (int i = 0; i < size; i++)
        expected = (i * 7) % 5 > (expected * 7) % 5 ? i : expected;
    check(best.index == expected && best.value == (expected * 7) % 5);
    MPI_Scan(&x, sums, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    check(sums[0] == (rank + 1) * (rank + 1) / 2.0);
    MPI_Exscan(&x, sums, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    check(rank == 0 || sums[0] == rank * rank / 2.0);
    for (int i = 0; i < size; i++)
        all[i] = i;
    MPI_Reduce_scatter_block(all, result, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    check(result[0] == rank * size);
    for (int i = 0; i < 1000; i++)
        sums[i] = rank * i;
    MPI_Allreduce(MPI_IN_PLACE, sums, 1000, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    check(sums[0] == 0 && sums[999] == 999.0 * size * (size - 1) / 2);

    MPI_Type_contiguous(2, MPI_INT, &two);
    MPI_Type_commit(&two);
    MPI_Op_create(add_pairs, 0, &operation);
    int function[2] = {2, rank}, whole[2] = {1, 0};
    for (int i = 0; i < size; i++)
        whole[0] *= 2, whole[1] = 2 * whole[1] + i;
    MPI_Allreduce(function, result, 1, two, operation, MPI_COMM_WORLD);
    check(result[0] == whole[0] && result[1] == whole[1]);
    result[0] = 0;
    MPI_Reduce(function, result, 1, two, operation, size - 1, MPI_COMM_WORLD);
    check(rank != size - 1 || (result[0] == whole[0] && result[1] == whole[1]));
    MPI_Op_free(&operation);
    MPI_Type_free(&two);

    /* Several that were begun, finished in another order. */
    int bcast = rank == 0 ? 42 : 0, sum = 0;
    MPI_Ibcast(&bcast, 1, MPI_INT, 0, MPI_COMM_WORLD, &requests[0]);
    MPI_Iallreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &requests[1]);
    MPI_Ibarrier(MPI_COMM_WORLD, &requests[2]);
    MPI_Ialltoall(all, 1, MPI_INT, all + size, 1, MPI_INT, MPI_COMM_WORLD, &requests[3]);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 3; i >= 0; i--)
        MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
    check(bcast == 42 && sum == size * (size - 1) / 2 && all[size] == rank && all[2 * size - 1] == rank);

    /* Many at a time, long and short, while messages fill the rings; a test makes them go on as well. */
    enum { MANY = 20, WORDS = 20000 };
    int *words = calloc(2 * MANY, WORDS * sizeof *words), done = 0, received;
    MPI_Request begun[MANY];
    for (int i = 0; i < MANY; i++) {
        words[i * WORDS] = words[(i + 1) * WORDS - 1] = rank + i;
        MPI_Iallreduce(words + i * WORDS, words + (MANY + i) * WORDS, i % 2 ? WORDS : 1, MPI_INT, MPI_SUM,
                       MPI_COMM_WORLD, &begun[i]);
    }
    for (int i = 0; i < 1000; i++)
        MPI_Send(&i, 1, MPI_INT, rank, 9, MPI_COMM_WORLD);
    for (int i = 0; i < 1000; i++) {
        MPI_Recv(&received, 1, MPI_INT, rank, 9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        check(received == i);
    }
    while (!done)
        MPI_Testall(MANY, begun, &done, MPI_STATUSES_IGNORE);
    for (int i = 0; i < MANY; i++)
        check(words[(MANY + i) * WORDS] == size * (size - 1) / 2 + size * i &&
              (i % 2 == 0 || words[(MANY + i + 1) * WORDS - 1] == words[(MANY + i) * WORDS]));
    free(words);

    /* The first rank sends more than a ring holds. */
    MPI_Request persistent;
    int round = 0;
    MPI_Bcast_init(&round, 1, MPI_INT, 0, MPI_COMM_WORLD, MPI_INFO_NULL, &persistent);
    for (int i = 0; i < 1500; i++) {
        round = rank == 0 ? i : -1;
        MPI_Start(&persistent);
        MPI_Wait(&persistent, MPI_STATUS_IGNORE);
        check(round == i);
    }
    MPI_Request_free(&persistent);
    MPI_Recv(NULL, 0, MPI_DATATYPE_NULL, MPI_PROC_NULL, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    free(all);
    free(counts);
    free(offsets);
}

static void types(void)
{
    struct item {
        char kind;
        double value;
        int index[2];
    } out[3], in[3];
    int matrix[6][6], part[4], position = 0, n;
    char buffer[200];
    MPI_Aint lower, extent;
    MPI_Datatype column, square, item, whole;
    MPI_Status status;

    for (int i = 0; i < 36; i++)
        matrix[i / 6][i % 6] = rank * 100 + i;
    MPI_Type_vector(6, 1, 6, MPI_INT, &column);
    MPI_Type_commit(&column);
    MPI_Type_create_subarray(2, (int[]){6, 6}, (int[]){2, 2}, (int[]){1, 3}, MPI_ORDER_C, MPI_INT, &square);
    MPI_Type_commit(&square);
    MPI_Sendrecv(&matrix[0][1], 1, column, next, 0, &matrix[0][5], 1, column, before, 0, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, column, &n);
    check(n == 1 && matrix[0][5] == before * 100 + 1 && matrix[5][5] == before * 100 + 31 && matrix[1][0] == rank * 100 + 6);
    MPI_Get_elements(&status, column, &n);
    check(n == 6);
    MPI_Sendrecv(matrix, 1, square, next, 1, part, 4, MPI_INT, before, 1, MPI_COMM_WORLD, &status);
    check(part[0] == before * 100 + 9 && part[3] == before * 100 + 16);
    MPI_Type_create_struct(3, (int[]){1, 1, 2},
                           (MPI_Aint[]){0, (char *)&out->value - (char *)out, (char *)out->index - (char *)out},
                           (MPI_Datatype[]){MPI_CHAR, MPI_DOUBLE, MPI_INT}, &whole);
    MPI_Type_create_resized(whole, 0, sizeof *out, &item);
    MPI_Type_commit(&item);
    MPI_Type_free(&whole);
    MPI_Type_get_extent(item, &lower, &extent);
    MPI_Type_size(item, &n);
    check(lower == 0 && extent == sizeof *out && n == 17);
    for (int i = 0; i < 3; i++)
        out[i] = (struct item){'a' + i, rank + i / 4.0, {i, -i}};
    memset(in, 0, sizeof in);
    MPI_Sendrecv(out, 3, item, next, 2, in, 3, item, before, 2, MPI_COMM_WORLD, &status);
    check(in[2].kind == 'c' && in[2].value == before + 0.5 && in[2].index[1] == -2);
    MPI_Pack(out, 3, item, buffer, sizeof buffer, &position, MPI_COMM_WORLD);
    check(position == 51);
    position = 0;
    memset(in, 0, sizeof in);
    MPI_Unpack(buffer, sizeof buffer, &position, in, 3, item, MPI_COMM_WORLD);
    check(in[1].kind == 'b' && in[1].index[0] == 1);
    for (int i = 0; i < 2; i++) { /* a type that was freed is there again, for a while */
        int addresses, types, combiner;
        MPI_Type_get_contents(item, 0, 2, 1, NULL, (MPI_Aint[2]){0}, &whole);
        MPI_Type_get_envelope(whole, &n, &addresses, &types, &combiner);
        check(n == 4 && addresses == 3 && types == 3 && combiner == MPI_COMBINER_STRUCT);
        MPI_Type_free(&whole);
    }
    MPI_Type_free(&item);
    MPI_Type_free(&square);
    MPI_Type_free(&column);
}

static int deleted;

/* Deletes the attributes of the keys beside its own. */
static int delete_others(MPI_Comm comm, int key, void *value, void *keys)
{
    int *others = keys;
    (void)key, (void)value;
    deleted++;
    MPI_Comm_delete_attr(comm, others[0]);
    MPI_Comm_delete_attr(comm, others[2]);
    return MPI_SUCCESS;
}

static void attributes(void)
{
    int keys[3], flag, value = 5;
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    for (int i = 0; i < 3; i++) {
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, i == 1 ? delete_others : MPI_COMM_NULL_DELETE_FN, &keys[i], keys);
        MPI_Comm_set_attr(comm, keys[i], &value);
    }
    MPI_Comm_delete_attr(comm, keys[1]);
    for (int i = 0; i < 3; i++) {
        int *found;
        MPI_Comm_get_attr(comm, keys[i], &found, &flag);
        check(!flag);
        MPI_Comm_free_keyval(&keys[i]);
    }
    check(deleted == 1);
    MPI_Comm_free(&comm);
}

static void communicators(void)
{
    int color = rank % 2, r, n, sum, sizes[2] = {0, 0}, coordinates[2], source, destination, flag, key, *value;
    MPI_Comm half, copy, cart, row, inter, merged;
    MPI_Group world, odd;

    MPI_Comm_split(MPI_COMM_WORLD, color, -rank, &half);
    MPI_Comm_rank(half, &r);
    MPI_Comm_size(half, &n);
    check(n == (size + 1 - color) / 2 && r == n - 1 - rank / 2);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    check(sum == n * (n - 1) + n * color);
    MPI_Comm_create_keyval(MPI_COMM_DUP_FN, MPI_COMM_NULL_DELETE_FN, &key, NULL);
    MPI_Comm_set_attr(half, key, &color);
    MPI_Comm_dup(half, &copy);
    MPI_Comm_get_attr(copy, key, &value, &flag);
    check(flag && value == &color);
    MPI_Comm_free_keyval(&key);
    MPI_Comm_create_keyval(MPI_COMM_DUP_FN, MPI_COMM_NULL_DELETE_FN, &key, NULL);
    MPI_Comm_get_attr(copy, key, &value, &flag); /* the other key is taken while attributes have it */
    check(!flag);
    MPI_Comm_free_keyval(&key);
    MPI_Comm_compare(half, copy, &r);
    check(r == MPI_CONGRUENT);
    /* What is sent on one is not received on the other. */
    MPI_Request request;
    MPI_Comm_rank(half, &r);
    MPI_Isend(&rank, 1, MPI_INT, r, 0, half, &request);
    MPI_Iprobe(r, 0, copy, &flag, MPI_STATUS_IGNORE);
    check(!flag);
    MPI_Recv(&sum, 1, MPI_INT, r, 0, half, MPI_STATUS_IGNORE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    MPI_Comm_free(&copy);

    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_range_incl(world, 1, (int[][3]){{0, size - 1, 2}}, &odd);
    MPI_Comm_create(MPI_COMM_WORLD, odd, &copy);
    check((copy == MPI_COMM_NULL) == (rank % 2));
    if (copy != MPI_COMM_NULL)
        MPI_Comm_free(&copy);
    MPI_Group_free(&odd);
    MPI_Group_free(&world);

    int many[3] = {0, 5, 0};
    MPI_Dims_create(2100, 3, many);
    check(many[0] == 21 && many[1] == 5 && many[2] == 20);
    MPI_Dims_create(size, 2, sizes);
    check(sizes[0] * sizes[1] == size && sizes[0] >= sizes[1]);
    MPI_Cart_create(MPI_COMM_WORLD, 2, sizes, (int[]){1, 0}, 0, &cart);
    MPI_Cart_coords(cart, rank, 2, coordinates);
    MPI_Cart_rank(cart, coordinates, &r);
    check(r == rank);
    MPI_Cart_shift(cart, 0, 1, &source, &destination);
    check(destination == (rank + sizes[1]) % size);
    MPI_Cart_shift(cart, 1, 1, &source, &destination);
    check(coordinates[1] + 1 < sizes[1] ? destination == rank + 1 : destination == MPI_PROC_NULL);
    MPI_Cart_sub(cart, (int[]){0, 1}, &row);
    MPI_Comm_size(row, &n);
    check(n == sizes[1]);
    MPI_Comm_free(&row);
    MPI_Comm_free(&cart);

    if (size > 1) {
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, color ? (size - 1) / 2 * 2 : (size / 2 - 1) * 2 + 1, 5, &inter);
        MPI_Comm_remote_size(inter, &n);
        check(n == (size + color) / 2);
        sum = 0;
        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, inter);
        check(sum == n * (n - 1) + n * !color);
        MPI_Intercomm_merge(inter, color, &merged);
        MPI_Comm_size(merged, &n);
        check(n == size);
        MPI_Comm_free(&merged);
        MPI_Comm_free(&inter);
    }
    MPI_Comm_free(&half);
}

static void windows(void)
{
    static int memory[8];
    int one = 1, old, got[2], counter;
    MPI_Datatype nothing, spread;
    MPI_Win win;
    memset(memory, 0, sizeof memory);
    MPI_Win_create(memory, sizeof memory, sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Win_fence(0, win);
    MPI_Put(&rank, 1, MPI_INT, next, 0, 1, MPI_INT, win);
    MPI_Win_fence(0, win);
    check(memory[0] == before);
    MPI_Get(got, 1, MPI_INT, next, 0, 1, MPI_INT, win);
    MPI_Accumulate(&one, 1, MPI_INT, 0, 1, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_fence(0, win);
    check(got[0] == rank && (rank != 0 || memory[1] == size));
    for (int i = 0; i < 100; i++) {
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
        MPI_Get(&counter, 1, MPI_INT, 0, 2, 1, MPI_INT, win);
        counter++;
        MPI_Put(&counter, 1, MPI_INT, 0, 2, 1, MPI_INT, win);
        MPI_Win_unlock(0, win);
    }
    MPI_Win_lock_all(0, win);
    MPI_Fetch_and_op(&one, &old, MPI_INT, 0, 3, MPI_SUM, win);
    MPI_Win_unlock_all(win);
    check(old >= 0 && old < size);
    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Accumulate(NULL, 1, nothing, 0, 3, 1, nothing, MPI_SUM, win);
    MPI_Type_free(&nothing);
    MPI_Barrier(MPI_COMM_WORLD);
    check(rank != 0 || (memory[2] == 100 * size && memory[3] == size));
    MPI_Win_free(&win);

    /* Pairs, which have gaps: two, and two with another one between them */
    struct {
        double value;
        int index;
    } pairs[4] = {{0}}, largest[3] = {{rank, rank}, {rank + 1, rank}, {rank + 2, rank}};
    MPI_Type_vector(2, 1, 2, MPI_DOUBLE_INT, &spread);
    MPI_Win_create(pairs, sizeof pairs, sizeof *pairs, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Win_fence(0, win);
    MPI_Accumulate(largest, 2, MPI_DOUBLE_INT, 0, 0, 2, MPI_DOUBLE_INT, MPI_MAXLOC, win);
    MPI_Accumulate(largest, 1, spread, 0, 1, 1, spread, MPI_MAXLOC, win);
    MPI_Win_fence(0, win);
    check(rank != 0 || (pairs[0].value == size - 1 && pairs[0].index == size - 1 && pairs[1].value == size));
    check(rank != 0 || (pairs[2].value == 0 && pairs[3].value == size + 1 && pairs[3].index == size - 1));
    MPI_Win_free(&win);
    MPI_Type_free(&spread);
}

static void errors(void)
{
    int value = 0, class, length;
    char text[MPI_MAX_ERROR_STRING];
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Send(&value, 1, MPI_INT, size, 0, MPI_COMM_WORLD) == MPI_ERR_RANK);
    check(MPI_Bcast(&value, 1, MPI_DATATYPE_NULL, 0, MPI_COMM_WORLD) == MPI_ERR_TYPE);
    MPI_Error_class(MPI_ERR_TRUNCATE, &class);
    MPI_Error_string(MPI_ERR_TRUNCATE, text, &length);
    check(class == MPI_ERR_TRUNCATE && length == (int)strlen(text) && length > 0);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
}

/* Before MPI_Init, too. */
static void infos(int argc, char **argv)
{
    char value[10];
    int flag, count, more, size = sizeof value;
    MPI_Info info;
    MPI_Info_create_env(argc, argv, &info);
    MPI_Info_get_nkeys(info, &count);
    MPI_Info_set(info, "a key of the test", "value");
    MPI_Info_get_nkeys(info, &more);
    MPI_Info_get_string(info, "a key of the test", &size, value, &flag);
    check(more == count + 1 && flag && size == 6 && !strcmp(value, "value"));
    MPI_Info_get_nkeys(MPI_INFO_ENV, &more);
    check(more == count);
    MPI_Info_free(&info);
    check(info == MPI_INFO_NULL);
}

int main(int argc, char **argv)
{
    char name[MPI_MAX_PROCESSOR_NAME];
    int length, flag;
    MPI_Initialized(&flag);
    check(!flag);
    infos(argc, argv);
    begin_checks(&argc, &argv);
    MPI_Get_processor_name(name, &length);
    check(length == (int)strlen(name) && MPI_Wtick() > 0 && MPI_Wtick() < 1e-3);
    messages();
    lines();
    places();
    collectives();
    types();
    attributes();
    communicators();
    windows();
    errors();
    wrong = end_checks();
    MPI_Finalized(&flag);
    return !flag || wrong;
}
