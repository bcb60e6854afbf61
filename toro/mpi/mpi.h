/* MPI for C programs on Toro: the subset of the standard that ToroMPI.pas implements. A rank is
 * a core. Functions return MPI_SUCCESS or MPI_ERR_*; errors do not abort the program. */
#ifndef MPI_H
#define MPI_H

typedef int MPI_Comm;
typedef int MPI_Datatype;
typedef int MPI_Op;

typedef struct {
    int MPI_SOURCE, MPI_TAG, MPI_ERROR, reserved;
    unsigned long bytes;
} MPI_Status;

#define MPI_COMM_WORLD 0

/* The low byte is the size of an element. */
#define MPI_BYTE 0x101
#define MPI_CHAR 0x201
#define MPI_INT 0x304
#define MPI_LONG 0x408
#define MPI_LONG_LONG MPI_LONG
#define MPI_INT32_T MPI_INT
#define MPI_INT64_T MPI_LONG
#define MPI_FLOAT 0x504
#define MPI_DOUBLE 0x608

#define MPI_SUM 0
#define MPI_MIN 1
#define MPI_MAX 2
#define MPI_PROD 3

#define MPI_ANY_SOURCE (-1)
#define MPI_ANY_TAG (-1)
#define MPI_STATUS_IGNORE ((MPI_Status *)0)
#define MPI_IN_PLACE ((void *)-1)
#define MPI_UNDEFINED (-1)

#define MPI_SUCCESS 0
#define MPI_ERR_BUFFER 1
#define MPI_ERR_COUNT 2
#define MPI_ERR_TYPE 3
#define MPI_ERR_TAG 4
#define MPI_ERR_COMM 5
#define MPI_ERR_RANK 6
#define MPI_ERR_ROOT 7
#define MPI_ERR_OP 9
#define MPI_ERR_TRUNCATE 15

int MPI_Init(int *argc, char ***argv);
int MPI_Finalize(void);
int MPI_Abort(MPI_Comm comm, int status);
int MPI_Comm_size(MPI_Comm comm, int *size);
int MPI_Comm_rank(MPI_Comm comm, int *rank);
double MPI_Wtime(void);
double MPI_Wtick(void);

int MPI_Send(const void *data, int count, MPI_Datatype type, int destination, int tag, MPI_Comm comm);
int MPI_Recv(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status *status);
int MPI_Get_count(const MPI_Status *status, MPI_Datatype type, int *count);

int MPI_Barrier(MPI_Comm comm);
int MPI_Bcast(void *data, int count, MPI_Datatype type, int root, MPI_Comm comm);
int MPI_Scatter(const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,
                MPI_Datatype receive_type, int root, MPI_Comm comm);
int MPI_Gather(const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,
               MPI_Datatype receive_type, int root, MPI_Comm comm);
int MPI_Allgather(const void *send, int send_count, MPI_Datatype send_type, void *receive, int receive_count,
                  MPI_Datatype receive_type, MPI_Comm comm);
int MPI_Reduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, int root,
               MPI_Comm comm);
int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm);

/* TSC ticks. */
unsigned long Mpi_Wtime(void);

#endif
