/* Packing for other machines: "external32", big-endian and with sizes of its own (MPI 3.1, section 13.5.2). */
#include "internal.h"

#define FORM "external32"

/* What predefined types consist of that are not one number. */
static const MPI_Datatype pairs[][3] = {
    {MPI_C_FLOAT_COMPLEX, MPI_FLOAT, MPI_FLOAT},
    {MPI_C_DOUBLE_COMPLEX, MPI_DOUBLE, MPI_DOUBLE},
    {MPI_C_LONG_DOUBLE_COMPLEX, MPI_LONG_DOUBLE, MPI_LONG_DOUBLE},
    {MPI_FLOAT_INT, MPI_FLOAT, MPI_INT},
    {MPI_DOUBLE_INT, MPI_DOUBLE, MPI_INT},
    {MPI_LONG_INT, MPI_LONG, MPI_INT},
    {MPI_2INT, MPI_INT, MPI_INT},
    {MPI_SHORT_INT, MPI_SHORT, MPI_INT},
    {MPI_LONG_DOUBLE_INT, MPI_LONG_DOUBLE, MPI_INT},
};

/* The parts of a predefined type; how many. */
static int parts_of(int kind, int parts[2])
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i][0] == kind) {
            parts[0] = pairs[i][1];
            parts[1] = pairs[i][2];
            return 2;
        }
    parts[0] = kind;
    return 1;
}

static size_t number_size(int kind)
{
    if (kind == MPI_WCHAR)
        return 2;
    if (kind == MPI_LONG || kind == MPI_UNSIGNED_LONG)
        return 4;
    return mpi_type(kind)->size;
}

/* Of the j-th type of a struct. */
static MPI_Count length_of(const struct type *type, int j)
{
    MPI_Count length = (type->counts.count ? type->counts : type->integers).list[1 + j];
    return length > 0 ? length : 0;
}

/* Other types than structs are their only part, some times. */
static size_t times(const struct type *type)
{
    return type->size ? type->size / type->types[0]->size : 0;
}

static size_t external_size(const struct type *type)
{
    size_t size = 0;
    int parts[2];
    if (type->predefined)
        for (int i = parts_of(type->kind, parts) - 1; i >= 0; i--)
            size += number_size(parts[i]);
    else if (type->combiner == MPI_COMBINER_STRUCT)
        for (int j = 0; j < type->type_count; j++)
            size += length_of(type, j) * external_size(type->types[j]);
    else
        size = times(type) * external_size(type->types[0]);
    return size;
}

/* A long double is one of x87: its highest bit of the fraction is there, and 49 lower ones are not. */
static unsigned __int128 widen(unsigned __int128 x87)
{
    return x87 >> 64 << 112 | (x87 & INT64_MAX) << 49;
}

static unsigned __int128 narrow(unsigned __int128 quad)
{
    unsigned exponent = quad >> 112;
    uint64_t fraction = (uint64_t)(quad >> 49) & INT64_MAX;
    return (unsigned __int128)exponent << 64 | (exponent & 0x7fff ? fraction | 1UL << 63 : fraction);
}

static void convert_number(int kind, char *native, char *external, bool out)
{
    size_t size = mpi_type(kind)->size, external_size = number_size(kind);
    unsigned __int128 value = 0;
    char *bytes = (char *)&value;
    if (out) {
        memcpy(&value, native, size);
        value = kind == MPI_LONG_DOUBLE ? widen(value) : value;
    }
    for (size_t i = 0; i < external_size; i++)
        if (out)
            external[i] = bytes[external_size - 1 - i];
        else
            bytes[external_size - 1 - i] = external[i];
    if (!out) {
        if (kind == MPI_LONG)
            value = (unsigned __int128)(int32_t)value;
        memcpy(native, &(unsigned __int128){kind == MPI_LONG_DOUBLE ? narrow(value) : value}, size);
    }
}

/* Converts packed elements, to the external form or from there; its size. */
static size_t convert(const struct type *type, size_t count, char *native, char *external, bool out)
{
    char *start = external;
    int parts[2];
    if (!type->predefined && type->combiner != MPI_COMBINER_STRUCT)
        return convert(type->types[0], count * times(type), native, external, out);
    for (size_t i = 0; i < count; i++)
        if (type->predefined)
            for (int j = 0, n = parts_of(type->kind, parts); j < n; j++) {
                convert_number(parts[j], native, external, out);
                native += mpi_type(parts[j])->size;
                external += number_size(parts[j]);
            }
        else
            for (int j = 0; j < type->type_count; j++) {
                external += convert(type->types[j], length_of(type, j), native, external, out);
                native += length_of(type, j) * type->types[j]->size;
            }
    return external - start;
}

#define NAME(name) name
#define COUNT int
#define BYTES MPI_Aint
#include "external.h"

#define NAME(name) name##_c
#define COUNT MPI_Count
#define BYTES MPI_Count
#include "external.h"
