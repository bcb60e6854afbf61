/* MPI for C programs on Toro: version 3.1 of the standard without files, Fortran and dynamic processes,
 * and of version 4 persistent collective operations, MPI_Isendrecv, MPI_Info_create_env, and large
 * counts. A rank is a core. */
#ifndef MPI_H
#define MPI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MPI_VERSION 3
#define MPI_SUBVERSION 1

typedef long MPI_Aint;
typedef long long MPI_Offset;
typedef long long MPI_Count;
typedef int MPI_Fint;

/* Handles: each rank has its own tables of what they mean. */
typedef int MPI_Comm;
typedef int MPI_Datatype;
typedef int MPI_Op;
typedef int MPI_Group;
typedef int MPI_Errhandler;
typedef int MPI_Win;
typedef int MPI_Info;
typedef struct mpi_request *MPI_Request;
typedef struct mpi_arrival *MPI_Message;

typedef struct {
    int MPI_SOURCE, MPI_TAG, MPI_ERROR;
    int cancelled;
    MPI_Count bytes;
} MPI_Status;

#define MPI_COMM_WORLD 0
#define MPI_COMM_SELF 1
#define MPI_COMM_NULL (-1)
#define MPI_GROUP_EMPTY 0
#define MPI_GROUP_NULL (-1)
#define MPI_DATATYPE_NULL (-1)
#define MPI_OP_NULL (-1)
#define MPI_WIN_NULL (-1)
#define MPI_INFO_NULL (-1)
#define MPI_INFO_ENV 0
#define MPI_REQUEST_NULL ((MPI_Request)0)
#define MPI_MESSAGE_NULL ((MPI_Message)0)
#define MPI_MESSAGE_NO_PROC ((MPI_Message)-1)
#define MPI_ERRORS_ARE_FATAL 0
#define MPI_ERRORS_RETURN 1
#define MPI_ERRHANDLER_NULL (-1)

#define MPI_PROC_NULL (-2)
#define MPI_ANY_SOURCE (-1)
#define MPI_ANY_TAG (-1)
#define MPI_ROOT (-3)
#define MPI_UNDEFINED (-32766)
#define MPI_KEYVAL_INVALID (-1)
#define MPI_BOTTOM ((void *)0)
#define MPI_IN_PLACE ((void *)-1)
#define MPI_UNWEIGHTED ((int *)-2)
#define MPI_WEIGHTS_EMPTY ((int *)-3)
#define MPI_STATUS_IGNORE ((MPI_Status *)0)
#define MPI_STATUSES_IGNORE ((MPI_Status *)0)
#define MPI_ERRCODES_IGNORE ((int *)0)
#define MPI_ARGV_NULL ((char **)0)

#define MPI_MAX_PROCESSOR_NAME 128
#define MPI_MAX_ERROR_STRING 256
#define MPI_MAX_OBJECT_NAME 128
#define MPI_MAX_LIBRARY_VERSION_STRING 256
#define MPI_MAX_INFO_KEY 255
#define MPI_MAX_INFO_VAL 1024
#define MPI_MAX_PORT_NAME 256
#define MPI_BSEND_OVERHEAD 64

/* Types */
enum {
    MPI_CHAR = 0,
    MPI_SIGNED_CHAR = 1,
    MPI_UNSIGNED_CHAR = 2,
    MPI_BYTE = 3,
    MPI_WCHAR = 4,
    MPI_SHORT = 5,
    MPI_UNSIGNED_SHORT = 6,
    MPI_INT = 7,
    MPI_UNSIGNED = 8,
    MPI_LONG = 9,
    MPI_UNSIGNED_LONG = 10,
    MPI_LONG_LONG_INT = 11,
    MPI_UNSIGNED_LONG_LONG = 12,
    MPI_FLOAT = 13,
    MPI_DOUBLE = 14,
    MPI_LONG_DOUBLE = 15,
    MPI_INT8_T = 16,
    MPI_INT16_T = 17,
    MPI_INT32_T = 18,
    MPI_INT64_T = 19,
    MPI_UINT8_T = 20,
    MPI_UINT16_T = 21,
    MPI_UINT32_T = 22,
    MPI_UINT64_T = 23,
    MPI_AINT = 24,
    MPI_OFFSET = 25,
    MPI_COUNT = 26,
    MPI_C_BOOL = 27,
    MPI_C_FLOAT_COMPLEX = 28,
    MPI_C_DOUBLE_COMPLEX = 29,
    MPI_C_LONG_DOUBLE_COMPLEX = 30,
    MPI_FLOAT_INT = 31,
    MPI_DOUBLE_INT = 32,
    MPI_LONG_INT = 33,
    MPI_2INT = 34,
    MPI_SHORT_INT = 35,
    MPI_LONG_DOUBLE_INT = 36,
    MPI_PACKED = 37,
    MPI_LB = 38,
    MPI_UB = 39,
};
#define MPI_LONG_LONG MPI_LONG_LONG_INT
#define MPI_C_COMPLEX MPI_C_FLOAT_COMPLEX
#define MPI_CXX_BOOL MPI_C_BOOL
#define MPI_CXX_FLOAT_COMPLEX MPI_C_FLOAT_COMPLEX
#define MPI_CXX_DOUBLE_COMPLEX MPI_C_DOUBLE_COMPLEX
#define MPI_CXX_LONG_DOUBLE_COMPLEX MPI_C_LONG_DOUBLE_COMPLEX

/* Fortran's types, as far as C has the same */
#define MPI_CHARACTER MPI_CHAR
#define MPI_LOGICAL MPI_INT
#define MPI_INTEGER MPI_INT
#define MPI_REAL MPI_FLOAT
#define MPI_DOUBLE_PRECISION MPI_DOUBLE
#define MPI_COMPLEX MPI_C_FLOAT_COMPLEX
#define MPI_DOUBLE_COMPLEX MPI_C_DOUBLE_COMPLEX
#define MPI_INTEGER1 MPI_INT8_T
#define MPI_INTEGER2 MPI_INT16_T
#define MPI_INTEGER4 MPI_INT32_T
#define MPI_INTEGER8 MPI_INT64_T
#define MPI_INTEGER16 MPI_DATATYPE_NULL
#define MPI_REAL4 MPI_FLOAT
#define MPI_REAL8 MPI_DOUBLE
#define MPI_REAL16 MPI_DATATYPE_NULL
#define MPI_COMPLEX8 MPI_C_FLOAT_COMPLEX
#define MPI_COMPLEX16 MPI_C_DOUBLE_COMPLEX
#define MPI_COMPLEX32 MPI_DATATYPE_NULL
#define MPI_2INTEGER MPI_2INT
#define MPI_2REAL MPI_DATATYPE_NULL
#define MPI_2DOUBLE_PRECISION MPI_DATATYPE_NULL

/* Operations */
enum {
    MPI_SUM = 0,
    MPI_MIN = 1,
    MPI_MAX = 2,
    MPI_PROD = 3,
    MPI_LAND = 4,
    MPI_LOR = 5,
    MPI_LXOR = 6,
    MPI_BAND = 7,
    MPI_BOR = 8,
    MPI_BXOR = 9,
    MPI_MAXLOC = 10,
    MPI_MINLOC = 11,
    MPI_REPLACE = 12,
    MPI_NO_OP = 13,
};

/* Results */
enum {
    MPI_SUCCESS = 0,
    MPI_ERR_BUFFER = 1,
    MPI_ERR_COUNT = 2,
    MPI_ERR_TYPE = 3,
    MPI_ERR_TAG = 4,
    MPI_ERR_COMM = 5,
    MPI_ERR_RANK = 6,
    MPI_ERR_ROOT = 7,
    MPI_ERR_GROUP = 8,
    MPI_ERR_OP = 9,
    MPI_ERR_TOPOLOGY = 10,
    MPI_ERR_DIMS = 11,
    MPI_ERR_ARG = 12,
    MPI_ERR_UNKNOWN = 13,
    MPI_ERR_OTHER = 14,
    MPI_ERR_TRUNCATE = 15,
    MPI_ERR_INTERN = 16,
    MPI_ERR_IN_STATUS = 17,
    MPI_ERR_PENDING = 18,
    MPI_ERR_REQUEST = 19,
    MPI_ERR_KEYVAL = 20,
    MPI_ERR_NO_MEM = 21,
    MPI_ERR_INFO_KEY = 22,
    MPI_ERR_INFO_VALUE = 23,
    MPI_ERR_INFO_NOKEY = 24,
    MPI_ERR_INFO = 25,
    MPI_ERR_WIN = 26,
    MPI_ERR_BASE = 27,
    MPI_ERR_SIZE = 28,
    MPI_ERR_DISP = 29,
    MPI_ERR_LOCKTYPE = 30,
    MPI_ERR_ASSERT = 31,
    MPI_ERR_RMA_CONFLICT = 32,
    MPI_ERR_RMA_SYNC = 33,
    MPI_ERR_RMA_RANGE = 34,
    MPI_ERR_RMA_ATTACH = 35,
    MPI_ERR_RMA_SHARED = 36,
    MPI_ERR_RMA_FLAVOR = 37,
    MPI_ERR_UNSUPPORTED_OPERATION = 38,
    MPI_ERR_ACCESS = 39,
    MPI_ERR_FILE = 40,
    MPI_ERR_IO = 41,
    MPI_ERR_NAME = 42,
    MPI_ERR_SERVICE = 43,
    MPI_ERR_SPAWN = 44,
    MPI_ERR_PORT = 45,
    MPI_ERR_LASTCODE = 1023,
};

enum { MPI_IDENT, MPI_CONGRUENT, MPI_SIMILAR, MPI_UNEQUAL };
enum { MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED, MPI_THREAD_MULTIPLE };
enum { MPI_GRAPH = 1, MPI_CART, MPI_DIST_GRAPH };
enum { MPI_COMM_TYPE_SHARED = 1 };
enum { MPI_ORDER_C = 1, MPI_ORDER_FORTRAN };
enum { MPI_DISTRIBUTE_BLOCK = 1, MPI_DISTRIBUTE_CYCLIC, MPI_DISTRIBUTE_NONE, MPI_DISTRIBUTE_DFLT_DARG = -1 };
enum { MPI_LOCK_EXCLUSIVE = 1, MPI_LOCK_SHARED };
enum { MPI_WIN_FLAVOR_CREATE = 1, MPI_WIN_FLAVOR_ALLOCATE, MPI_WIN_FLAVOR_DYNAMIC, MPI_WIN_FLAVOR_SHARED };
enum { MPI_WIN_SEPARATE = 1, MPI_WIN_UNIFIED };
enum { MPI_MODE_NOCHECK = 1, MPI_MODE_NOSTORE = 2, MPI_MODE_NOPUT = 4, MPI_MODE_NOPRECEDE = 8, MPI_MODE_NOSUCCEED = 16 };
enum {
    MPI_COMBINER_NAMED = 1, MPI_COMBINER_DUP, MPI_COMBINER_CONTIGUOUS, MPI_COMBINER_VECTOR, MPI_COMBINER_HVECTOR,
    MPI_COMBINER_INDEXED, MPI_COMBINER_HINDEXED, MPI_COMBINER_INDEXED_BLOCK, MPI_COMBINER_HINDEXED_BLOCK,
    MPI_COMBINER_STRUCT, MPI_COMBINER_SUBARRAY, MPI_COMBINER_DARRAY, MPI_COMBINER_RESIZED
};

/* Predefined attributes */
enum {
    MPI_TAG_UB, MPI_HOST, MPI_IO, MPI_WTIME_IS_GLOBAL, MPI_UNIVERSE_SIZE, MPI_LASTUSEDCODE, MPI_APPNUM,
    MPI_WIN_BASE, MPI_WIN_SIZE, MPI_WIN_DISP_UNIT, MPI_WIN_CREATE_FLAVOR, MPI_WIN_MODEL
};

typedef void MPI_User_function(void *in, void *inout, int *count, MPI_Datatype *type);
typedef void MPI_User_function_c(void *in, void *inout, MPI_Count *count, MPI_Datatype *type);
typedef void MPI_Comm_errhandler_function(MPI_Comm *comm, int *code, ...);
typedef void MPI_Win_errhandler_function(MPI_Win *win, int *code, ...);
typedef MPI_Comm_errhandler_function MPI_Comm_errhandler_fn;
typedef MPI_Comm_errhandler_function MPI_Handler_function;
typedef MPI_Win_errhandler_function MPI_Win_errhandler_fn;
typedef int MPI_Comm_copy_attr_function(MPI_Comm, int, void *, void *, void *, int *);
typedef int MPI_Comm_delete_attr_function(MPI_Comm, int, void *, void *);
typedef MPI_Comm_copy_attr_function MPI_Copy_function, MPI_Type_copy_attr_function, MPI_Win_copy_attr_function;
typedef MPI_Comm_delete_attr_function MPI_Delete_function, MPI_Type_delete_attr_function, MPI_Win_delete_attr_function;
typedef int MPI_Grequest_query_function(void *, MPI_Status *);
typedef int MPI_Grequest_free_function(void *);
typedef int MPI_Grequest_cancel_function(void *, int);

#define MPI_NULL_COPY_FN ((MPI_Comm_copy_attr_function *)0)
#define MPI_NULL_DELETE_FN ((MPI_Comm_delete_attr_function *)0)
#define MPI_DUP_FN MPI_COMM_DUP_FN
#define MPI_COMM_NULL_COPY_FN MPI_NULL_COPY_FN
#define MPI_COMM_NULL_DELETE_FN MPI_NULL_DELETE_FN
#define MPI_TYPE_NULL_COPY_FN MPI_NULL_COPY_FN
#define MPI_TYPE_NULL_DELETE_FN MPI_NULL_DELETE_FN
#define MPI_TYPE_DUP_FN MPI_COMM_DUP_FN
#define MPI_WIN_NULL_COPY_FN MPI_NULL_COPY_FN
#define MPI_WIN_NULL_DELETE_FN MPI_NULL_DELETE_FN
#define MPI_WIN_DUP_FN MPI_COMM_DUP_FN
int MPI_COMM_DUP_FN(MPI_Comm, int, void *, void *, void *, int *);

/* The calls, and the same for a program that has calls of its own in their place (profiling, MPI 3.1, section 14.2). */
#define TORO_NAME(name) name
#include "mpi_calls.h"
#define TORO_NAME(name) P##name
#include "mpi_calls.h"

/* Those with counts are there for counts of int, and for MPI_Count with names that end in _c. */
#define TORO_COUNT int
#define TORO_PLACE int
#define TORO_BYTES MPI_Aint
#define TORO_FUNCTION MPI_User_function
#define TORO_NAME(name) name
#include "mpi_counts.h"
#define TORO_NAME(name) P##name
#include "mpi_counts.h"
#undef TORO_COUNT
#undef TORO_PLACE
#undef TORO_BYTES
#undef TORO_FUNCTION
#define TORO_COUNT MPI_Count
#define TORO_PLACE MPI_Aint
#define TORO_BYTES MPI_Count
#define TORO_FUNCTION MPI_User_function_c
#define TORO_NAME(name) name##_c
#include "mpi_counts.h"
#define TORO_NAME(name) P##name##_c
#include "mpi_counts.h"

/* Names of Toro's own, of earlier versions: the clock in TSC ticks */
unsigned long Mpi_Wtime(void);

#ifdef __cplusplus
}
#endif

#endif
