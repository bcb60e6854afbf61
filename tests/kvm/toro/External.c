/* Packing in the form "external32": its bytes, and back. */
#include <mpi.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define FORM "external32"

static int wrong;

static void check_at(int holds, const char *what, int line)
{
    if (!holds) {
        printf("line %d: %s\n", line, what);
        wrong++;
    }
}
#define check(what) check_at(what, #what, __LINE__)

/* Packs elements, compares them with what is expected, and unpacks them into `back`. */
static void pack(const void *data, int count, MPI_Datatype type, const char *expected, MPI_Aint bytes, void *back)
{
    char buffer[200];
    MPI_Aint size, end = 1;
    MPI_Count large_size, start = 1;
    MPI_Pack_external_size(FORM, count, type, &size);
    MPI_Pack_external_size_c(FORM, count, type, &large_size);
    check(size == bytes && large_size == bytes);
    MPI_Pack_external(FORM, data, count, type, buffer, sizeof buffer, &end);
    check(end == 1 + bytes && !memcmp(buffer + 1, expected, bytes));
    MPI_Unpack_external_c(FORM, buffer, sizeof buffer, &start, back, count, type);
    check(start == end);
}

int main(int argc, char **argv)
{
    struct item {
        char kind;
        long number;
        double values[2];
    } items[2] = {{'a', -2, {1, 0.5}}, {'b', 3, {-1, 0}}}, back[2] = {{0}};
    struct {
        float value;
        int index;
    } place = {1.5f, 7}, place_back = {0};
    long double wide[3] = {-1.5L, 0, 1 + 0x1p-63L}, wide_back[3];
    int matrix[3][2] = {{1, 2}, {3, 4}, {5, 0x01020304}}, column[3][2] = {{0}};
    MPI_Datatype item, item_of_two, half;

    MPI_Init(&argc, &argv);
    MPI_Type_create_struct(3, (int[]){1, 1, 2},
                           (MPI_Aint[]){0, offsetof(struct item, number), offsetof(struct item, values)},
                           (MPI_Datatype[]){MPI_CHAR, MPI_LONG, MPI_DOUBLE}, &item);
    MPI_Type_contiguous(2, item, &item_of_two);
    MPI_Type_free(&item);
    pack(items, 1, item_of_two,
         "a\xff\xff\xff\xfe\x3f\xf0\0\0\0\0\0\0\x3f\xe0\0\0\0\0\0\0"
         "b\0\0\0\x03\xbf\xf0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
         42, back);
    check(back[0].number == -2 && back[0].values[1] == 0.5 && back[1].kind == 'b' && back[1].values[0] == -1);
    pack(&place, 1, MPI_FLOAT_INT, "\x3f\xc0\0\0\0\0\0\x07", 8, &place_back);
    check(place_back.value == 1.5f && place_back.index == 7);
    pack(wide, 3, MPI_LONG_DOUBLE,
         "\xbf\xff\x80\0\0\0\0\0\0\0\0\0\0\0\0\0"
         "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
         "\x3f\xff\0\0\0\0\0\0\0\x02\0\0\0\0\0\0",
         48, wide_back);
    check(wide_back[0] == -1.5L && wide_back[1] == 0 && wide_back[2] == wide[2]);
    MPI_Type_vector(3, 1, 2, MPI_INT, &half);
    pack(&matrix[0][1], 1, half, "\0\0\0\x02\0\0\0\x04\x01\x02\x03\x04", 12, &column[0][1]);
    check(column[0][1] == 2 && column[2][1] == 0x01020304 && !column[1][0]);
    MPI_Type_free(&half);
    MPI_Type_free(&item_of_two);
    if (!wrong)
        printf("all right\n");
    MPI_Finalize();
    return wrong;
}
