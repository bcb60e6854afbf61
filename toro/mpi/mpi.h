/* MPI for C programs on Toro: version 3.1 of the standard without files, Fortran, dynamic processes,
 * distributed graphs and the profiling interface, and of version 4 persistent collective
 * operations, MPI_Isendrecv, and large counts of messages and collective operations. A rank is a core. */
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


/* Environment */
int MPI_Init(int *argc, char ***argv);
int MPI_Init_thread(int *argc, char ***argv, int required, int *provided);
int MPI_Finalize(void);
int MPI_Initialized(int *flag);
int MPI_Finalized(int *flag);
int MPI_Query_thread(int *provided);
int MPI_Is_thread_main(int *flag);
int MPI_Abort(MPI_Comm comm, int status);
int MPI_Get_processor_name(char *name, int *length);
int MPI_Get_version(int *version, int *subversion);
int MPI_Get_library_version(char *version, int *length);
int MPI_Alloc_mem(MPI_Aint size, MPI_Info info, void *memory);
int MPI_Free_mem(void *memory);
int MPI_Pcontrol(const int level, ...);
double MPI_Wtime(void);
double MPI_Wtick(void);

/* Operations with counts: those of int, and those of MPI_Count, whose names end in _c */
#define TORO_NAME(name) name
#define TORO_COUNT int
#define TORO_PLACE int
#define TORO_FUNCTION MPI_User_function
#include "mpi_counts.h"
#define TORO_NAME(name) name##_c
#define TORO_COUNT MPI_Count
#define TORO_PLACE MPI_Aint
#define TORO_FUNCTION MPI_User_function_c
#include "mpi_counts.h"

/* Messages */
int MPI_Probe(int source, int tag, MPI_Comm comm, MPI_Status *status);
int MPI_Iprobe(int source, int tag, MPI_Comm comm, int *flag, MPI_Status *status);
int MPI_Mprobe(int source, int tag, MPI_Comm comm, MPI_Message *message, MPI_Status *status);
int MPI_Improbe(int source, int tag, MPI_Comm comm, int *flag, MPI_Message *message, MPI_Status *status);
int MPI_Get_elements_x(const MPI_Status *status, MPI_Datatype type, MPI_Count *count);
int MPI_Status_set_elements_x(MPI_Status *status, MPI_Datatype type, MPI_Count count);
int MPI_Status_set_cancelled(MPI_Status *status, int flag);
int MPI_Test_cancelled(const MPI_Status *status, int *flag);

/* Requests */
int MPI_Wait(MPI_Request *request, MPI_Status *status);
int MPI_Waitall(int count, MPI_Request requests[], MPI_Status statuses[]);
int MPI_Waitany(int count, MPI_Request requests[], int *index, MPI_Status *status);
int MPI_Waitsome(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[]);
int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status);
int MPI_Testall(int count, MPI_Request requests[], int *flag, MPI_Status statuses[]);
int MPI_Testany(int count, MPI_Request requests[], int *index, int *flag, MPI_Status *status);
int MPI_Testsome(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[]);
int MPI_Start(MPI_Request *request);
int MPI_Startall(int count, MPI_Request requests[]);
int MPI_Cancel(MPI_Request *request);
int MPI_Request_free(MPI_Request *request);
int MPI_Request_get_status(MPI_Request request, int *flag, MPI_Status *status);
int MPI_Grequest_start(MPI_Grequest_query_function *query, MPI_Grequest_free_function *release,
                       MPI_Grequest_cancel_function *cancel, void *state, MPI_Request *request);
int MPI_Grequest_complete(MPI_Request request);

/* Collective operations */
int MPI_Barrier(MPI_Comm comm);
int MPI_Barrier_init(MPI_Comm comm, MPI_Info info, MPI_Request *request);
int MPI_Ibarrier(MPI_Comm comm, MPI_Request *request);
int MPI_Op_free(MPI_Op *operation);
int MPI_Op_commutative(MPI_Op operation, int *commutes);

/* Types */
int MPI_Type_contiguous(int count, MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_vector(int count, int length, int stride, MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_create_hvector(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_indexed(int count, const int lengths[], const int offsets[], MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_create_hindexed(int count, const int lengths[], const MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype
                             *type);
int MPI_Type_create_indexed_block(int count, int length, const int offsets[], MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_create_hindexed_block(int count, int length, const MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype
                                   *type);
int MPI_Type_create_struct(int count, const int lengths[], const MPI_Aint offsets[], const MPI_Datatype types[],
                           MPI_Datatype *type);
int MPI_Type_create_subarray(int dimensions, const int sizes[], const int parts[], const int starts[], int order,
                             MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_create_darray(int size, int rank, int dimensions, const int sizes[], const int distributions[], const int
                           arguments[], const int grid[], int order, MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_create_resized(MPI_Datatype old, MPI_Aint lower, MPI_Aint extent, MPI_Datatype *type);
int MPI_Type_dup(MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_hvector(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_hindexed(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype *type);
int MPI_Type_struct(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype types[], MPI_Datatype *type);
int MPI_Type_commit(MPI_Datatype *type);
int MPI_Type_free(MPI_Datatype *type);
int MPI_Type_size(MPI_Datatype type, int *size);
int MPI_Type_size_x(MPI_Datatype type, MPI_Count *size);
int MPI_Type_size_c(MPI_Datatype type, MPI_Count *size);
int MPI_Type_get_extent(MPI_Datatype type, MPI_Aint *lower, MPI_Aint *extent);
int MPI_Type_get_extent_x(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int MPI_Type_get_extent_c(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int MPI_Type_get_true_extent(MPI_Datatype type, MPI_Aint *lower, MPI_Aint *extent);
int MPI_Type_get_true_extent_x(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int MPI_Type_get_true_extent_c(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int MPI_Type_extent(MPI_Datatype type, MPI_Aint *extent);
int MPI_Type_lb(MPI_Datatype type, MPI_Aint *lower);
int MPI_Type_ub(MPI_Datatype type, MPI_Aint *upper);
int MPI_Type_get_envelope(MPI_Datatype type, int *integers, int *addresses, int *types, int *combiner);
int MPI_Type_get_contents(MPI_Datatype type, int max_integers, int max_addresses, int max_types, int integers[],
                          MPI_Aint addresses[], MPI_Datatype types[]);
int MPI_Type_get_name(MPI_Datatype type, char *name, int *length);
int MPI_Type_set_name(MPI_Datatype type, const char *name);
int MPI_Type_match_size(int kind, int size, MPI_Datatype *type);
int MPI_Get_address(const void *place, MPI_Aint *address);
int MPI_Address(void *place, MPI_Aint *address);
MPI_Aint MPI_Aint_add(MPI_Aint base, MPI_Aint offset);
MPI_Aint MPI_Aint_diff(MPI_Aint a, MPI_Aint b);
int MPI_Pack(const void *data, int count, MPI_Datatype type, void *buffer, int size, int *position, MPI_Comm comm);
int MPI_Unpack(const void *buffer, int size, int *position, void *data, int count, MPI_Datatype type, MPI_Comm comm);
int MPI_Pack_size(int count, MPI_Datatype type, MPI_Comm comm, int *size);

/* Groups and communicators */
int MPI_Comm_size(MPI_Comm comm, int *size);
int MPI_Comm_rank(MPI_Comm comm, int *rank);
int MPI_Comm_group(MPI_Comm comm, MPI_Group *group);
int MPI_Comm_compare(MPI_Comm a, MPI_Comm b, int *result);
int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *made);
int MPI_Comm_dup_with_info(MPI_Comm comm, MPI_Info info, MPI_Comm *made);
int MPI_Comm_idup(MPI_Comm comm, MPI_Comm *made, MPI_Request *request);
int MPI_Comm_idup_with_info(MPI_Comm comm, MPI_Info info, MPI_Comm *made, MPI_Request *request);
int MPI_Comm_create(MPI_Comm comm, MPI_Group group, MPI_Comm *made);
int MPI_Comm_create_group(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm *made);
int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *made);
int MPI_Comm_split_type(MPI_Comm comm, int kind, int key, MPI_Info info, MPI_Comm *made);
int MPI_Comm_free(MPI_Comm *comm);
int MPI_Comm_set_name(MPI_Comm comm, const char *name);
int MPI_Comm_get_name(MPI_Comm comm, char *name, int *length);
int MPI_Comm_test_inter(MPI_Comm comm, int *flag);
int MPI_Comm_remote_size(MPI_Comm comm, int *size);
int MPI_Comm_remote_group(MPI_Comm comm, MPI_Group *group);
int MPI_Comm_set_info(MPI_Comm comm, MPI_Info info);
int MPI_Comm_get_info(MPI_Comm comm, MPI_Info *info);
int MPI_Comm_get_parent(MPI_Comm *parent);
int MPI_Comm_disconnect(MPI_Comm *comm);
int MPI_Intercomm_create(MPI_Comm local, int local_leader, MPI_Comm peer, int remote_leader, int tag, MPI_Comm *made);
int MPI_Intercomm_merge(MPI_Comm inter, int high, MPI_Comm *made);
int MPI_Group_size(MPI_Group group, int *size);
int MPI_Group_rank(MPI_Group group, int *rank);
int MPI_Group_compare(MPI_Group a, MPI_Group b, int *result);
int MPI_Group_translate_ranks(MPI_Group a, int count, const int ranks[], MPI_Group b, int result[]);
int MPI_Group_union(MPI_Group a, MPI_Group b, MPI_Group *made);
int MPI_Group_intersection(MPI_Group a, MPI_Group b, MPI_Group *made);
int MPI_Group_difference(MPI_Group a, MPI_Group b, MPI_Group *made);
int MPI_Group_incl(MPI_Group group, int count, const int ranks[], MPI_Group *made);
int MPI_Group_excl(MPI_Group group, int count, const int ranks[], MPI_Group *made);
int MPI_Group_range_incl(MPI_Group group, int count, int ranges[][3], MPI_Group *made);
int MPI_Group_range_excl(MPI_Group group, int count, int ranges[][3], MPI_Group *made);
int MPI_Group_free(MPI_Group *group);

/* Attributes */
int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function *copy, MPI_Comm_delete_attr_function *remove, int *key, void
                           *state);
int MPI_Comm_free_keyval(int *key);
int MPI_Comm_set_attr(MPI_Comm comm, int key, void *value);
int MPI_Comm_get_attr(MPI_Comm comm, int key, void *value, int *flag);
int MPI_Comm_delete_attr(MPI_Comm comm, int key);
int MPI_Keyval_create(MPI_Copy_function *copy, MPI_Delete_function *remove, int *key, void *state);
int MPI_Keyval_free(int *key);
int MPI_Attr_put(MPI_Comm comm, int key, void *value);
int MPI_Attr_get(MPI_Comm comm, int key, void *value, int *flag);
int MPI_Attr_delete(MPI_Comm comm, int key);
int MPI_Type_create_keyval(MPI_Type_copy_attr_function *copy, MPI_Type_delete_attr_function *remove, int *key, void
                           *state);
int MPI_Type_free_keyval(int *key);
int MPI_Type_set_attr(MPI_Datatype type, int key, void *value);
int MPI_Type_get_attr(MPI_Datatype type, int key, void *value, int *flag);
int MPI_Type_delete_attr(MPI_Datatype type, int key);
int MPI_Win_create_keyval(MPI_Win_copy_attr_function *copy, MPI_Win_delete_attr_function *remove, int *key, void
                          *state);
int MPI_Win_free_keyval(int *key);
int MPI_Win_set_attr(MPI_Win win, int key, void *value);
int MPI_Win_get_attr(MPI_Win win, int key, void *value, int *flag);
int MPI_Win_delete_attr(MPI_Win win, int key);

/* Topologies */
int MPI_Dims_create(int nodes, int dimensions, int sizes[]);
int MPI_Cart_create(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int reorder, MPI_Comm
                    *made);
int MPI_Cartdim_get(MPI_Comm comm, int *dimensions);
int MPI_Cart_get(MPI_Comm comm, int max, int sizes[], int periodic[], int coordinates[]);
int MPI_Cart_rank(MPI_Comm comm, const int coordinates[], int *rank);
int MPI_Cart_coords(MPI_Comm comm, int rank, int max, int coordinates[]);
int MPI_Cart_shift(MPI_Comm comm, int dimension, int distance, int *source, int *destination);
int MPI_Cart_sub(MPI_Comm comm, const int kept[], MPI_Comm *made);
int MPI_Cart_map(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int *rank);
int MPI_Graph_create(MPI_Comm comm, int nodes, const int index[], const int edges[], int reorder, MPI_Comm *made);
int MPI_Graphdims_get(MPI_Comm comm, int *nodes, int *edges);
int MPI_Graph_get(MPI_Comm comm, int max_index, int max_edges, int index[], int edges[]);
int MPI_Graph_neighbors_count(MPI_Comm comm, int rank, int *count);
int MPI_Graph_neighbors(MPI_Comm comm, int rank, int max, int neighbors[]);
int MPI_Graph_map(MPI_Comm comm, int nodes, const int index[], const int edges[], int *rank);
int MPI_Topo_test(MPI_Comm comm, int *kind);

/* Errors */
int MPI_Comm_create_errhandler(MPI_Comm_errhandler_function *function, MPI_Errhandler *handler);
int MPI_Comm_set_errhandler(MPI_Comm comm, MPI_Errhandler handler);
int MPI_Comm_get_errhandler(MPI_Comm comm, MPI_Errhandler *handler);
int MPI_Comm_call_errhandler(MPI_Comm comm, int code);
int MPI_Errhandler_create(MPI_Handler_function *function, MPI_Errhandler *handler);
int MPI_Errhandler_set(MPI_Comm comm, MPI_Errhandler handler);
int MPI_Errhandler_get(MPI_Comm comm, MPI_Errhandler *handler);
int MPI_Errhandler_free(MPI_Errhandler *handler);
int MPI_Win_create_errhandler(MPI_Win_errhandler_function *function, MPI_Errhandler *handler);
int MPI_Win_set_errhandler(MPI_Win win, MPI_Errhandler handler);
int MPI_Win_get_errhandler(MPI_Win win, MPI_Errhandler *handler);
int MPI_Win_call_errhandler(MPI_Win win, int code);
int MPI_Error_class(int code, int *error_class);
int MPI_Error_string(int code, char *text, int *length);
int MPI_Add_error_class(int *error_class);
int MPI_Add_error_code(int error_class, int *code);
int MPI_Add_error_string(int code, const char *text);

/* Info */
int MPI_Info_create(MPI_Info *info);
int MPI_Info_free(MPI_Info *info);
int MPI_Info_dup(MPI_Info info, MPI_Info *made);
int MPI_Info_set(MPI_Info info, const char *key, const char *value);
int MPI_Info_get(MPI_Info info, const char *key, int size, char *value, int *flag);
int MPI_Info_get_string(MPI_Info info, const char *key, int *size, char *value, int *flag);
int MPI_Info_get_valuelen(MPI_Info info, const char *key, int *length, int *flag);
int MPI_Info_get_nkeys(MPI_Info info, int *count);
int MPI_Info_get_nthkey(MPI_Info info, int n, char *key);
int MPI_Info_delete(MPI_Info info, const char *key);

/* One-sided communication */
int MPI_Win_create(void *base, MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, MPI_Win *win);
int MPI_Win_allocate(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win);
int MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win);
int MPI_Win_shared_query(MPI_Win win, int rank, MPI_Aint *size, int *unit, void *base);
int MPI_Win_create_dynamic(MPI_Info info, MPI_Comm comm, MPI_Win *win);
int MPI_Win_attach(MPI_Win win, void *base, MPI_Aint size);
int MPI_Win_detach(MPI_Win win, const void *base);
int MPI_Win_free(MPI_Win *win);
int MPI_Win_get_group(MPI_Win win, MPI_Group *group);
int MPI_Win_set_name(MPI_Win win, const char *name);
int MPI_Win_get_name(MPI_Win win, char *name, int *length);
int MPI_Win_fence(int assertion, MPI_Win win);
int MPI_Win_post(MPI_Group group, int assertion, MPI_Win win);
int MPI_Win_start(MPI_Group group, int assertion, MPI_Win win);
int MPI_Win_complete(MPI_Win win);
int MPI_Win_wait(MPI_Win win);
int MPI_Win_test(MPI_Win win, int *flag);
int MPI_Win_lock(int kind, int rank, int assertion, MPI_Win win);
int MPI_Win_unlock(int rank, MPI_Win win);
int MPI_Win_lock_all(int assertion, MPI_Win win);
int MPI_Win_unlock_all(MPI_Win win);
int MPI_Win_flush(int rank, MPI_Win win);
int MPI_Win_flush_all(MPI_Win win);
int MPI_Win_flush_local(int rank, MPI_Win win);
int MPI_Win_flush_local_all(MPI_Win win);
int MPI_Win_sync(MPI_Win win);
int MPI_Put(const void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count, MPI_Datatype
            target_type, MPI_Win win);
int MPI_Get(void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count, MPI_Datatype
            target_type, MPI_Win win);
int MPI_Accumulate(const void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count,
                   MPI_Datatype target_type, MPI_Op operation, MPI_Win win);
int MPI_Get_accumulate(const void *data, int count, MPI_Datatype type, void *result, int result_count, MPI_Datatype
                       result_type, int rank, MPI_Aint offset, int target_count, MPI_Datatype target_type, MPI_Op
                       operation, MPI_Win win);
int MPI_Fetch_and_op(const void *data, void *result, MPI_Datatype type, int rank, MPI_Aint offset, MPI_Op operation,
                     MPI_Win win);
int MPI_Compare_and_swap(const void *data, const void *compare, void *result, MPI_Datatype type, int rank, MPI_Aint
                         offset, MPI_Win win);
int MPI_Rput(const void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count, MPI_Datatype
             target_type, MPI_Win win, MPI_Request *request);
int MPI_Rget(void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count, MPI_Datatype
             target_type, MPI_Win win, MPI_Request *request);
int MPI_Raccumulate(const void *data, int count, MPI_Datatype type, int rank, MPI_Aint offset, int target_count,
                    MPI_Datatype target_type, MPI_Op operation, MPI_Win win, MPI_Request *request);
int MPI_Rget_accumulate(const void *data, int count, MPI_Datatype type, void *result, int result_count, MPI_Datatype
                        result_type, int rank, MPI_Aint offset, int target_count, MPI_Datatype target_type, MPI_Op
                        operation, MPI_Win win, MPI_Request *request);

/* Handles of other languages: there are none, so a handle is its own number. */
#define MPI_Request_c2f(request) ((MPI_Fint)((intptr_t)(request) >> 4)) /* the heap's addresses are multiples of 16 */
#define MPI_Request_f2c(request) ((MPI_Request)((intptr_t)(request) << 4))
#define MPI_Message_c2f(message) ((message) == MPI_MESSAGE_NO_PROC ? -1 : (MPI_Fint)((intptr_t)(message) >> 4))
#define MPI_Message_f2c(message) ((message) == -1 ? MPI_MESSAGE_NO_PROC : (MPI_Message)((intptr_t)(message) << 4))
#define MPI_Info_c2f(info) ((MPI_Fint)(info))
#define MPI_Info_f2c(info) ((MPI_Info)(info))
#define MPI_Win_c2f(win) ((MPI_Fint)(win))
#define MPI_Win_f2c(win) ((MPI_Win)(win))
#define MPI_Errhandler_c2f(handler) ((MPI_Fint)(handler))
#define MPI_Errhandler_f2c(handler) ((MPI_Errhandler)(handler))
#define MPI_Comm_c2f(comm) ((MPI_Fint)(comm))
#define MPI_Comm_f2c(comm) ((MPI_Comm)(comm))
#define MPI_Type_c2f(type) ((MPI_Fint)(type))
#define MPI_Type_f2c(type) ((MPI_Datatype)(type))
#define MPI_Op_c2f(operation) ((MPI_Fint)(operation))
#define MPI_Op_f2c(operation) ((MPI_Op)(operation))
#define MPI_Group_c2f(group) ((MPI_Fint)(group))
#define MPI_Group_f2c(group) ((MPI_Group)(group))

/* Names of Toro's own, of earlier versions: the clock in TSC ticks */
unsigned long Mpi_Wtime(void);

#ifdef __cplusplus
}
#endif

#endif
