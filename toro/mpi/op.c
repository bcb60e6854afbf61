/* Operations of reductions (MPI 3.1, section 5.9). */
#include "internal.h"

struct operation {
    MPI_User_function *function; /* both null: a predefined one */
    MPI_User_function_c *large;
    bool commutes;
};

static struct operation predefined = {.commutes = true};
static struct table operations;

static struct operation *operation_of(MPI_Op handle)
{
    if (!operations.size) {
        for (int i = 0; i <= MPI_NO_OP; i++)
            mpi_table_add(&operations, &predefined);
        operations.first = MPI_NO_OP + 1;
    }
    return mpi_table_at(&operations, handle);
}

#define PART (1 << 30) /* elements that are combined by one call, whose number is an int */

enum class { INTEGER, REAL, LOGICAL, COMPLEX, PAIR, BYTE, OTHER };

static enum class class_of(int kind)
{
    switch (kind) {
    case MPI_FLOAT:
    case MPI_DOUBLE:
    case MPI_LONG_DOUBLE:
        return REAL;
    case MPI_C_BOOL:
        return LOGICAL;
    case MPI_BYTE:
        return BYTE;
    case MPI_C_FLOAT_COMPLEX:
    case MPI_C_DOUBLE_COMPLEX:
    case MPI_C_LONG_DOUBLE_COMPLEX:
        return COMPLEX;
    case MPI_FLOAT_INT:
    case MPI_DOUBLE_INT:
    case MPI_LONG_INT:
    case MPI_2INT:
    case MPI_SHORT_INT:
    case MPI_LONG_DOUBLE_INT:
        return PAIR;
    case MPI_PACKED:
    case MPI_LB:
    case MPI_UB:
    case MPI_WCHAR:
        return OTHER;
    default:
        return kind < 0 ? OTHER : INTEGER;
    }
}

bool mpi_can_combine(MPI_Op handle, MPI_Datatype type)
{
    struct operation *operation = operation_of(handle);
    struct type *t = mpi_type(type);
    enum class class;

    if (!operation || !t)
        return false;
    if (operation->function || operation->large)
        return true;
    if (handle == MPI_REPLACE || handle == MPI_NO_OP)
        return true;
    class = t->predefined ? class_of(t->kind) : OTHER;
    switch (handle) {
    case MPI_MAX:
    case MPI_MIN:
        return class == INTEGER || class == REAL;
    case MPI_SUM:
    case MPI_PROD:
        return class == INTEGER || class == REAL || class == COMPLEX;
    case MPI_LAND:
    case MPI_LOR:
    case MPI_LXOR:
        return class == INTEGER || class == LOGICAL || class == REAL; /* the last as in MPICH */
    case MPI_BAND:
    case MPI_BOR:
    case MPI_BXOR:
        return class == INTEGER || class == BYTE;
    default:
        return class == PAIR;
    }
}

bool mpi_commutes(MPI_Op handle)
{
    return operation_of(handle)->commutes;
}

#define EACH(expression)                                                                                               \
    for (int i = 0; i < count; i++)                                                                                    \
        b[i] = (expression);                                                                                           \
    return

#define ARITHMETIC                                                                                                     \
    case MPI_SUM: EACH(a[i] + b[i]);                                                                                   \
    case MPI_PROD: EACH(a[i] * b[i])

#define ORDER                                                                                                          \
    case MPI_MAX: EACH(a[i] > b[i] ? a[i] : b[i]);                                                                     \
    case MPI_MIN: EACH(a[i] < b[i] ? a[i] : b[i])

#define LOGIC                                                                                                          \
    case MPI_LAND: EACH(a[i] && b[i]);                                                                                 \
    case MPI_LOR: EACH(a[i] || b[i]);                                                                                  \
    case MPI_LXOR: EACH(!a[i] != !b[i])

#define BITS                                                                                                           \
    case MPI_BAND: EACH(a[i] & b[i]);                                                                                  \
    case MPI_BOR: EACH(a[i] | b[i]);                                                                                   \
    case MPI_BXOR: EACH(a[i] ^ b[i])

#define DEFINE(name, T, ...)                                                                                           \
    static void name(const T *restrict a, T *restrict b, int count, MPI_Op operation)                                                    \
    {                                                                                                                  \
        switch (operation) {                                                                                           \
            __VA_ARGS__;                                                                                               \
        default: return;                                                                                               \
        }                                                                                                              \
    }

#define DEFINE_INTEGER(name, T) DEFINE(name, T, ARITHMETIC; ORDER; LOGIC; BITS)
#define DEFINE_REAL(name, T) DEFINE(name, T, ARITHMETIC; ORDER; LOGIC)

/* The one whose value is more extreme, or of two equal ones the lower index. */
#define DEFINE_PAIR(name, T)                                                                                           \
    struct name {                                                                                                      \
        T value;                                                                                                       \
        int index;                                                                                                     \
    };                                                                                                                 \
    static void name(const struct name *a, struct name *b, int count, MPI_Op operation)                                \
    {                                                                                                                  \
        for (int i = 0; i < count; i++)                                                                                \
            if (a[i].value == b[i].value)                                                                              \
                b[i].index = a[i].index < b[i].index ? a[i].index : b[i].index;                                        \
            else if ((a[i].value > b[i].value) == (operation == MPI_MAXLOC))                                           \
                b[i] = a[i];                                                                                           \
    }

DEFINE_INTEGER(combine_i8, int8_t)
DEFINE_INTEGER(combine_u8, uint8_t)
DEFINE_INTEGER(combine_i16, int16_t)
DEFINE_INTEGER(combine_u16, uint16_t)
DEFINE_INTEGER(combine_i32, int32_t)
DEFINE_INTEGER(combine_u32, uint32_t)
DEFINE_INTEGER(combine_i64, int64_t)
DEFINE_INTEGER(combine_u64, uint64_t)
DEFINE(combine_bool, _Bool, LOGIC)
DEFINE_REAL(combine_float, float)
DEFINE_REAL(combine_double, double)
DEFINE_REAL(combine_long_double, long double)
DEFINE(combine_float_complex, _Complex float, ARITHMETIC)
DEFINE(combine_double_complex, _Complex double, ARITHMETIC)
DEFINE(combine_long_double_complex, _Complex long double, ARITHMETIC)
DEFINE_PAIR(float_int, float)
DEFINE_PAIR(double_int, double)
DEFINE_PAIR(long_int, long)
DEFINE_PAIR(int_int, int)
DEFINE_PAIR(short_int, short)
DEFINE_PAIR(long_double_int, long double)

typedef void combine_function(const void *, void *, int, MPI_Op);
#define AS(function) ((combine_function *)(void *)(function))

static combine_function *const functions[] = {
    [MPI_CHAR] = AS(combine_i8), [MPI_SIGNED_CHAR] = AS(combine_i8), [MPI_UNSIGNED_CHAR] = AS(combine_u8),
    [MPI_BYTE] = AS(combine_u8), [MPI_SHORT] = AS(combine_i16), [MPI_UNSIGNED_SHORT] = AS(combine_u16),
    [MPI_INT] = AS(combine_i32), [MPI_UNSIGNED] = AS(combine_u32), [MPI_LONG] = AS(combine_i64),
    [MPI_UNSIGNED_LONG] = AS(combine_u64), [MPI_LONG_LONG_INT] = AS(combine_i64),
    [MPI_UNSIGNED_LONG_LONG] = AS(combine_u64), [MPI_FLOAT] = AS(combine_float), [MPI_DOUBLE] = AS(combine_double),
    [MPI_LONG_DOUBLE] = AS(combine_long_double), [MPI_INT8_T] = AS(combine_i8), [MPI_INT16_T] = AS(combine_i16),
    [MPI_INT32_T] = AS(combine_i32), [MPI_INT64_T] = AS(combine_i64), [MPI_UINT8_T] = AS(combine_u8),
    [MPI_UINT16_T] = AS(combine_u16), [MPI_UINT32_T] = AS(combine_u32), [MPI_UINT64_T] = AS(combine_u64),
    [MPI_AINT] = AS(combine_i64), [MPI_OFFSET] = AS(combine_i64), [MPI_COUNT] = AS(combine_i64),
    [MPI_C_BOOL] = AS(combine_bool), [MPI_C_FLOAT_COMPLEX] = AS(combine_float_complex),
    [MPI_C_DOUBLE_COMPLEX] = AS(combine_double_complex),
    [MPI_C_LONG_DOUBLE_COMPLEX] = AS(combine_long_double_complex), [MPI_FLOAT_INT] = AS(float_int),
    [MPI_DOUBLE_INT] = AS(double_int), [MPI_LONG_INT] = AS(long_int), [MPI_2INT] = AS(int_int),
    [MPI_SHORT_INT] = AS(short_int), [MPI_LONG_DOUBLE_INT] = AS(long_double_int),
};

void mpi_combine(const void *in, void *inout, MPI_Count count, MPI_Datatype type, MPI_Op handle)
{
    struct operation *operation = operation_of(handle);
    if (!count || handle == MPI_NO_OP)
        return;
    if (operation->large) {
        operation->large((void *)in, inout, &count, &type);
        return;
    }
    if (handle == MPI_REPLACE) {
        mpi_copy_typed(in, count, type, inout, count, type);
        return;
    }
    for (MPI_Count at = 0; at < count; at += PART) {
        int part = count - at < PART ? count - at : PART;
        if (operation->function)
            operation->function(mpi_at(in, at, type), mpi_at(inout, at, type), &part, &type);
        else
            functions[mpi_type(type)->kind](mpi_at(in, at, type), mpi_at(inout, at, type), part, handle);
    }
}

#define KEPT_MAX (1 << 20)

/* One array is kept for the next reduction. */
static void *kept;
static size_t kept_size;

void *mpi_elements(MPI_Count count, MPI_Datatype type)
{
    struct type *t = mpi_type(type);
    size_t size = t->true_extent + (count > 0 ? count - 1 : 0) * (t->extent < 0 ? -t->extent : t->extent);
    void *memory = kept;
    if (kept && kept_size >= size)
        kept = NULL;
    else
        memory = mpi_memory(size + 1);
    return (char *)memory - t->true_lower;
}

void mpi_discard(void *elements, MPI_Datatype type)
{
    void *memory = (char *)elements + mpi_type(type)->true_lower;
    size_t size = toro_memory_size(memory);
    if (size > KEPT_MAX || (kept && kept_size >= size)) {
        toro_release(memory);
        return;
    }
    if (kept)
        toro_release(kept);
    kept = memory;
    kept_size = size;
}

static int create(const struct operation *operation, MPI_Op *handle)
{
    struct operation *made = mpi_memory(sizeof *made);
    operation_of(0);
    *made = *operation;
    *handle = mpi_table_add(&operations, made);
    return MPI_SUCCESS;
}

int MPI_Op_create(MPI_User_function *function, int commutes, MPI_Op *handle)
{
    return create(&(struct operation){.function = function, .commutes = commutes}, handle);
}

int MPI_Op_create_c(MPI_User_function_c *function, int commutes, MPI_Op *handle)
{
    return create(&(struct operation){.large = function, .commutes = commutes}, handle);
}

int MPI_Op_free(MPI_Op *handle)
{
    struct operation *operation = operation_of(*handle);
    CHECK(NULL, operation && operation != &predefined, MPI_ERR_OP);
    if (!mpi_activities) { /* a collective operation knows it by its handle */
        mpi_table_remove(&operations, *handle);
        toro_release(operation);
    }
    *handle = MPI_OP_NULL;
    return MPI_SUCCESS;
}

int MPI_Op_commutative(MPI_Op handle, int *commutes)
{
    struct operation *operation = operation_of(handle);
    CHECK(NULL, operation, MPI_ERR_OP);
    *commutes = operation->commutes;
    return MPI_SUCCESS;
}

static int reduce_local(const void *in, void *inout, MPI_Count count, MPI_Datatype type, MPI_Op operation,
                        const char *call)
{
    int result = count < 0 ? MPI_ERR_COUNT : !mpi_type(type) ? MPI_ERR_TYPE : MPI_SUCCESS;
    if (!result && !mpi_can_combine(operation, type))
        result = MPI_ERR_OP;
    if (result)
        return mpi_fail(NULL, call, result);
    mpi_combine(in, inout, count, type, operation);
    return MPI_SUCCESS;
}

int MPI_Reduce_local(const void *in, void *inout, int count, MPI_Datatype type, MPI_Op operation)
{
    return reduce_local(in, inout, count, type, operation, __func__);
}

int MPI_Reduce_local_c(const void *in, void *inout, MPI_Count count, MPI_Datatype type, MPI_Op operation)
{
    return reduce_local(in, inout, count, type, operation, __func__);
}
