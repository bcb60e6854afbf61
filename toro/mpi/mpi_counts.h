/* Messages, collective operations, and what depends on a number of elements, for mpi.h: TORO_COUNT
 * is the type of the number, TORO_PLACE that of an offset in elements, TORO_BYTES that of one in bytes,
 * TORO_NAME makes the name. */

/* Messages */
int TORO_NAME(MPI_Send)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm comm);
int TORO_NAME(MPI_Ssend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                         comm);
int TORO_NAME(MPI_Bsend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                         comm);
int TORO_NAME(MPI_Rsend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                         comm);
int TORO_NAME(MPI_Isend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm comm,
                         MPI_Request *request);
int TORO_NAME(MPI_Issend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                          comm, MPI_Request *request);
int TORO_NAME(MPI_Ibsend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                          comm, MPI_Request *request);
int TORO_NAME(MPI_Irsend)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                          comm, MPI_Request *request);
int TORO_NAME(MPI_Send_init)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                             comm, MPI_Request *request);
int TORO_NAME(MPI_Ssend_init)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                              comm, MPI_Request *request);
int TORO_NAME(MPI_Bsend_init)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                              comm, MPI_Request *request);
int TORO_NAME(MPI_Rsend_init)(const void *data, TORO_COUNT count, MPI_Datatype type, int destination, int tag, MPI_Comm
                              comm, MPI_Request *request);
int TORO_NAME(MPI_Recv)(void *data, TORO_COUNT count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status
                        *status);
int TORO_NAME(MPI_Irecv)(void *data, TORO_COUNT count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
                         MPI_Request *request);
int TORO_NAME(MPI_Recv_init)(void *data, TORO_COUNT count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
                             MPI_Request *request);
int TORO_NAME(MPI_Sendrecv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, int destination, int
                            send_tag, void *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, int source,
                            int receive_tag, MPI_Comm comm, MPI_Status *status);
int TORO_NAME(MPI_Sendrecv_replace)(void *data, TORO_COUNT count, MPI_Datatype type, int destination, int send_tag, int
                                    source, int receive_tag, MPI_Comm comm, MPI_Status *status);
int TORO_NAME(MPI_Isendrecv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, int destination, int
                             send_tag, void *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, int source,
                             int receive_tag, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Isendrecv_replace)(void *data, TORO_COUNT count, MPI_Datatype type, int destination, int send_tag, int
                                     source, int receive_tag, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Mrecv)(void *data, TORO_COUNT count, MPI_Datatype type, MPI_Message *message, MPI_Status *status);
int TORO_NAME(MPI_Imrecv)(void *data, TORO_COUNT count, MPI_Datatype type, MPI_Message *message, MPI_Request *request);
int TORO_NAME(MPI_Buffer_attach)(void *buffer, TORO_COUNT size);
int TORO_NAME(MPI_Buffer_detach)(void *buffer, TORO_COUNT *size);
int TORO_NAME(MPI_Get_count)(const MPI_Status *status, MPI_Datatype type, TORO_COUNT *count);
int TORO_NAME(MPI_Get_elements)(const MPI_Status *status, MPI_Datatype type, TORO_COUNT *count);
int TORO_NAME(MPI_Status_set_elements)(MPI_Status *status, MPI_Datatype type, TORO_COUNT count);

/* Collective operations */
int TORO_NAME(MPI_Bcast)(void *data, TORO_COUNT count, MPI_Datatype type, int root, MPI_Comm comm);
int TORO_NAME(MPI_Bcast_init)(void *data, TORO_COUNT count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Info info,
                              MPI_Request *request);
int TORO_NAME(MPI_Ibcast)(void *data, TORO_COUNT count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request
                          *request);
int TORO_NAME(MPI_Gather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                          receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm);
int TORO_NAME(MPI_Gather_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                               TORO_COUNT receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm, MPI_Info
                               info, MPI_Request *request);
int TORO_NAME(MPI_Igather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                           receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Gatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                           TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type, int root,
                           MPI_Comm comm);
int TORO_NAME(MPI_Gatherv_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                                TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type, int
                                root, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Igatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                            TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type, int
                            root, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Scatter)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                           receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm);
int TORO_NAME(MPI_Scatter_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                TORO_COUNT receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm, MPI_Info
                                info, MPI_Request *request);
int TORO_NAME(MPI_Iscatter)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                            receive_count, MPI_Datatype receive_type, int root, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Scatterv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE offsets[], MPI_Datatype
                            send_type, void *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, int root,
                            MPI_Comm comm);
int TORO_NAME(MPI_Scatterv_init)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE offsets[],
                                 MPI_Datatype send_type, void *receive, TORO_COUNT receive_count, MPI_Datatype
                                 receive_type, int root, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Iscatterv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE offsets[], MPI_Datatype
                             send_type, void *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, int root,
                             MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Allgather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                             receive_count, MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Allgather_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                  TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Info info,
                                  MPI_Request *request);
int TORO_NAME(MPI_Iallgather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                              receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Allgatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                              TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type,
                              MPI_Comm comm);
int TORO_NAME(MPI_Allgatherv_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                                   TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type,
                                   MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Iallgatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, const
                               TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype receive_type,
                               MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Alltoall)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                            receive_count, MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Alltoall_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                 TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Info info,
                                 MPI_Request *request);
int TORO_NAME(MPI_Ialltoall)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive, TORO_COUNT
                             receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Alltoallv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[],
                             MPI_Datatype send_type, void *receive, const TORO_COUNT receive_counts[], const TORO_PLACE
                             receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Alltoallv_init)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[],
                                  MPI_Datatype send_type, void *receive, const TORO_COUNT receive_counts[], const
                                  TORO_PLACE receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm, MPI_Info info,
                                  MPI_Request *request);
int TORO_NAME(MPI_Ialltoallv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[],
                              MPI_Datatype send_type, void *receive, const TORO_COUNT receive_counts[], const TORO_PLACE
                              receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Alltoallw)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[], const
                             MPI_Datatype send_types[], void *receive, const TORO_COUNT receive_counts[], const
                             TORO_PLACE receive_offsets[], const MPI_Datatype receive_types[], MPI_Comm comm);
int TORO_NAME(MPI_Alltoallw_init)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[],
                                  const MPI_Datatype send_types[], void *receive, const TORO_COUNT receive_counts[],
                                  const TORO_PLACE receive_offsets[], const MPI_Datatype receive_types[], MPI_Comm comm,
                                  MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ialltoallw)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[], const
                              MPI_Datatype send_types[], void *receive, const TORO_COUNT receive_counts[], const
                              TORO_PLACE receive_offsets[], const MPI_Datatype receive_types[], MPI_Comm comm,
                              MPI_Request *request);
int TORO_NAME(MPI_Reduce)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation, int
                          root, MPI_Comm comm);
int TORO_NAME(MPI_Reduce_init)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                               int root, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ireduce)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation, int
                           root, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Allreduce)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                             MPI_Comm comm);
int TORO_NAME(MPI_Allreduce_init)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op
                                  operation, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Iallreduce)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                              MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Reduce_scatter)(const void *send, void *receive, const TORO_COUNT counts[], MPI_Datatype type, MPI_Op
                                  operation, MPI_Comm comm);
int TORO_NAME(MPI_Reduce_scatter_init)(const void *send, void *receive, const TORO_COUNT counts[], MPI_Datatype type,
                                       MPI_Op operation, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ireduce_scatter)(const void *send, void *receive, const TORO_COUNT counts[], MPI_Datatype type, MPI_Op
                                   operation, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Reduce_scatter_block)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op
                                        operation, MPI_Comm comm);
int TORO_NAME(MPI_Reduce_scatter_block_init)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type,
                                             MPI_Op operation, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ireduce_scatter_block)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op
                                         operation, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Scan)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation, MPI_Comm
                        comm);
int TORO_NAME(MPI_Scan_init)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                             MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Iscan)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                         MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Exscan)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                          MPI_Comm comm);
int TORO_NAME(MPI_Exscan_init)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                               MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Iexscan)(const void *send, void *receive, TORO_COUNT count, MPI_Datatype type, MPI_Op operation,
                           MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Neighbor_allgather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                      TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Neighbor_allgather_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void
                                           *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm,
                                           MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ineighbor_allgather)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                       TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Request
                                       *request);
int TORO_NAME(MPI_Neighbor_alltoall)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                     TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Neighbor_alltoall_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void
                                          *receive, TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm,
                                          MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ineighbor_alltoall)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                      TORO_COUNT receive_count, MPI_Datatype receive_type, MPI_Comm comm, MPI_Request
                                      *request);
int TORO_NAME(MPI_Neighbor_allgatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                       const TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype
                                       receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Neighbor_allgatherv_init)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void
                                            *receive, const TORO_COUNT receive_counts[], const TORO_PLACE offsets[],
                                            MPI_Datatype receive_type, MPI_Comm comm, MPI_Info info, MPI_Request
                                            *request);
int TORO_NAME(MPI_Ineighbor_allgatherv)(const void *send, TORO_COUNT send_count, MPI_Datatype send_type, void *receive,
                                        const TORO_COUNT receive_counts[], const TORO_PLACE offsets[], MPI_Datatype
                                        receive_type, MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Neighbor_alltoallv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE send_offsets[],
                                      MPI_Datatype send_type, void *receive, const TORO_COUNT receive_counts[], const
                                      TORO_PLACE receive_offsets[], MPI_Datatype receive_type, MPI_Comm comm);
int TORO_NAME(MPI_Neighbor_alltoallv_init)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE
                                           send_offsets[], MPI_Datatype send_type, void *receive, const TORO_COUNT
                                           receive_counts[], const TORO_PLACE receive_offsets[], MPI_Datatype
                                           receive_type, MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ineighbor_alltoallv)(const void *send, const TORO_COUNT send_counts[], const TORO_PLACE
                                       send_offsets[], MPI_Datatype send_type, void *receive, const TORO_COUNT
                                       receive_counts[], const TORO_PLACE receive_offsets[], MPI_Datatype receive_type,
                                       MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Neighbor_alltoallw)(const void *send, const TORO_COUNT send_counts[], const MPI_Aint send_offsets[],
                                      const MPI_Datatype send_types[], void *receive, const TORO_COUNT receive_counts[],
                                      const MPI_Aint receive_offsets[], const MPI_Datatype receive_types[], MPI_Comm
                                      comm);
int TORO_NAME(MPI_Neighbor_alltoallw_init)(const void *send, const TORO_COUNT send_counts[], const MPI_Aint
                                           send_offsets[], const MPI_Datatype send_types[], void *receive, const
                                           TORO_COUNT receive_counts[], const MPI_Aint receive_offsets[], const
                                           MPI_Datatype receive_types[], MPI_Comm comm, MPI_Info info, MPI_Request
                                           *request);
int TORO_NAME(MPI_Ineighbor_alltoallw)(const void *send, const TORO_COUNT send_counts[], const MPI_Aint send_offsets[],
                                       const MPI_Datatype send_types[], void *receive, const TORO_COUNT
                                       receive_counts[], const MPI_Aint receive_offsets[], const MPI_Datatype
                                       receive_types[], MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Reduce_local)(const void *in, void *inout, TORO_COUNT count, MPI_Datatype type, MPI_Op operation);
int TORO_NAME(MPI_Op_create)(TORO_FUNCTION *function, int commutes, MPI_Op *operation);

/* Types */
int TORO_NAME(MPI_Type_contiguous)(TORO_COUNT count, MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_vector)(TORO_COUNT count, TORO_COUNT length, TORO_COUNT stride, MPI_Datatype old, MPI_Datatype
                               *type);
int TORO_NAME(MPI_Type_create_hvector)(TORO_COUNT count, TORO_COUNT length, TORO_BYTES stride, MPI_Datatype old,
                                       MPI_Datatype *type);
int TORO_NAME(MPI_Type_indexed)(TORO_COUNT count, const TORO_COUNT lengths[], const TORO_COUNT offsets[], MPI_Datatype
                                old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_hindexed)(TORO_COUNT count, const TORO_COUNT lengths[], const TORO_BYTES offsets[],
                                        MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_indexed_block)(TORO_COUNT count, TORO_COUNT length, const TORO_COUNT offsets[],
                                             MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_hindexed_block)(TORO_COUNT count, TORO_COUNT length, const TORO_BYTES offsets[],
                                              MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_struct)(TORO_COUNT count, const TORO_COUNT lengths[], const TORO_BYTES offsets[], const
                                      MPI_Datatype types[], MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_subarray)(int dimensions, const TORO_COUNT sizes[], const TORO_COUNT parts[], const
                                        TORO_COUNT starts[], int order, MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_darray)(int size, int rank, int dimensions, const TORO_COUNT sizes[], const int
                                      distributions[], const int arguments[], const int grid[], int order, MPI_Datatype
                                      old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_create_resized)(MPI_Datatype old, TORO_BYTES lower, TORO_BYTES extent, MPI_Datatype *type);
int TORO_NAME(MPI_Type_size)(MPI_Datatype type, TORO_COUNT *size);
int TORO_NAME(MPI_Type_get_extent)(MPI_Datatype type, TORO_BYTES *lower, TORO_BYTES *extent);
int TORO_NAME(MPI_Type_get_true_extent)(MPI_Datatype type, TORO_BYTES *lower, TORO_BYTES *extent);

/* Packing */
int TORO_NAME(MPI_Pack)(const void *data, TORO_COUNT count, MPI_Datatype type, void *buffer, TORO_COUNT size, TORO_COUNT
                        *position, MPI_Comm comm);
int TORO_NAME(MPI_Unpack)(const void *buffer, TORO_COUNT size, TORO_COUNT *position, void *data, TORO_COUNT count,
                          MPI_Datatype type, MPI_Comm comm);
int TORO_NAME(MPI_Pack_size)(TORO_COUNT count, MPI_Datatype type, MPI_Comm comm, TORO_COUNT *size);
int TORO_NAME(MPI_Pack_external)(const char form[], const void *data, TORO_COUNT count, MPI_Datatype type, void *buffer,
                                 TORO_BYTES size, TORO_BYTES *position);
int TORO_NAME(MPI_Unpack_external)(const char form[], const void *buffer, TORO_BYTES size, TORO_BYTES *position, void
                                   *data, TORO_COUNT count, MPI_Datatype type);
int TORO_NAME(MPI_Pack_external_size)(const char form[], TORO_COUNT count, MPI_Datatype type, TORO_BYTES *size);

/* One-sided communication */
int TORO_NAME(MPI_Win_create)(void *base, MPI_Aint size, TORO_PLACE unit, MPI_Info info, MPI_Comm comm, MPI_Win *win);
int TORO_NAME(MPI_Win_allocate)(MPI_Aint size, TORO_PLACE unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *win);
int TORO_NAME(MPI_Win_allocate_shared)(MPI_Aint size, TORO_PLACE unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win
                                       *win);
int TORO_NAME(MPI_Win_shared_query)(MPI_Win win, int rank, MPI_Aint *size, TORO_PLACE *unit, void *base);
int TORO_NAME(MPI_Put)(const void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset, TORO_COUNT
                       target_count, MPI_Datatype target_type, MPI_Win win);
int TORO_NAME(MPI_Get)(void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset, TORO_COUNT
                       target_count, MPI_Datatype target_type, MPI_Win win);
int TORO_NAME(MPI_Accumulate)(const void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset,
                              TORO_COUNT target_count, MPI_Datatype target_type, MPI_Op operation, MPI_Win win);
int TORO_NAME(MPI_Get_accumulate)(const void *data, TORO_COUNT count, MPI_Datatype type, void *result, TORO_COUNT
                                  result_count, MPI_Datatype result_type, int rank, MPI_Aint offset, TORO_COUNT
                                  target_count, MPI_Datatype target_type, MPI_Op operation, MPI_Win win);
int TORO_NAME(MPI_Rput)(const void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset, TORO_COUNT
                        target_count, MPI_Datatype target_type, MPI_Win win, MPI_Request *request);
int TORO_NAME(MPI_Rget)(void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset, TORO_COUNT
                        target_count, MPI_Datatype target_type, MPI_Win win, MPI_Request *request);
int TORO_NAME(MPI_Raccumulate)(const void *data, TORO_COUNT count, MPI_Datatype type, int rank, MPI_Aint offset,
                               TORO_COUNT target_count, MPI_Datatype target_type, MPI_Op operation, MPI_Win win,
                               MPI_Request *request);
int TORO_NAME(MPI_Rget_accumulate)(const void *data, TORO_COUNT count, MPI_Datatype type, void *result, TORO_COUNT
                                   result_count, MPI_Datatype result_type, int rank, MPI_Aint offset, TORO_COUNT
                                   target_count, MPI_Datatype target_type, MPI_Op operation, MPI_Win win, MPI_Request
                                   *request);

#undef TORO_NAME
