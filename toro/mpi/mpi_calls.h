/* What mpi.h declares without counts: TORO_NAME makes the name. */

/* Environment */
int TORO_NAME(MPI_Init)(int *argc, char ***argv);
int TORO_NAME(MPI_Init_thread)(int *argc, char ***argv, int required, int *provided);
int TORO_NAME(MPI_Finalize)(void);
int TORO_NAME(MPI_Initialized)(int *flag);
int TORO_NAME(MPI_Finalized)(int *flag);
int TORO_NAME(MPI_Query_thread)(int *provided);
int TORO_NAME(MPI_Is_thread_main)(int *flag);
int TORO_NAME(MPI_Abort)(MPI_Comm comm, int status);
int TORO_NAME(MPI_Get_processor_name)(char *name, int *length);
int TORO_NAME(MPI_Get_version)(int *version, int *subversion);
int TORO_NAME(MPI_Get_library_version)(char *version, int *length);
int TORO_NAME(MPI_Alloc_mem)(MPI_Aint size, MPI_Info info, void *memory);
int TORO_NAME(MPI_Free_mem)(void *memory);
int TORO_NAME(MPI_Pcontrol)(const int level, ...);
double TORO_NAME(MPI_Wtime)(void);
double TORO_NAME(MPI_Wtick)(void);

/* Messages */
int TORO_NAME(MPI_Probe)(int source, int tag, MPI_Comm comm, MPI_Status *status);
int TORO_NAME(MPI_Iprobe)(int source, int tag, MPI_Comm comm, int *flag, MPI_Status *status);
int TORO_NAME(MPI_Mprobe)(int source, int tag, MPI_Comm comm, MPI_Message *message, MPI_Status *status);
int TORO_NAME(MPI_Improbe)(int source, int tag, MPI_Comm comm, int *flag, MPI_Message *message, MPI_Status *status);
int TORO_NAME(MPI_Get_elements_x)(const MPI_Status *status, MPI_Datatype type, MPI_Count *count);
int TORO_NAME(MPI_Status_set_elements_x)(MPI_Status *status, MPI_Datatype type, MPI_Count count);
int TORO_NAME(MPI_Status_set_cancelled)(MPI_Status *status, int flag);
int TORO_NAME(MPI_Test_cancelled)(const MPI_Status *status, int *flag);

/* Requests */
int TORO_NAME(MPI_Wait)(MPI_Request *request, MPI_Status *status);
int TORO_NAME(MPI_Waitall)(int count, MPI_Request requests[], MPI_Status statuses[]);
int TORO_NAME(MPI_Waitany)(int count, MPI_Request requests[], int *index, MPI_Status *status);
int TORO_NAME(MPI_Waitsome)(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[]);
int TORO_NAME(MPI_Test)(MPI_Request *request, int *flag, MPI_Status *status);
int TORO_NAME(MPI_Testall)(int count, MPI_Request requests[], int *flag, MPI_Status statuses[]);
int TORO_NAME(MPI_Testany)(int count, MPI_Request requests[], int *index, int *flag, MPI_Status *status);
int TORO_NAME(MPI_Testsome)(int count, MPI_Request requests[], int *done, int indices[], MPI_Status statuses[]);
int TORO_NAME(MPI_Start)(MPI_Request *request);
int TORO_NAME(MPI_Startall)(int count, MPI_Request requests[]);
int TORO_NAME(MPI_Cancel)(MPI_Request *request);
int TORO_NAME(MPI_Request_free)(MPI_Request *request);
int TORO_NAME(MPI_Request_get_status)(MPI_Request request, int *flag, MPI_Status *status);
int TORO_NAME(MPI_Grequest_start)(MPI_Grequest_query_function *query, MPI_Grequest_free_function *release,
                                  MPI_Grequest_cancel_function *cancel, void *state, MPI_Request *request);
int TORO_NAME(MPI_Grequest_complete)(MPI_Request request);

/* Collective operations */
int TORO_NAME(MPI_Barrier)(MPI_Comm comm);
int TORO_NAME(MPI_Barrier_init)(MPI_Comm comm, MPI_Info info, MPI_Request *request);
int TORO_NAME(MPI_Ibarrier)(MPI_Comm comm, MPI_Request *request);
int TORO_NAME(MPI_Op_free)(MPI_Op *operation);
int TORO_NAME(MPI_Op_commutative)(MPI_Op operation, int *commutes);

/* Types */
int TORO_NAME(MPI_Type_dup)(MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_hvector)(int count, int length, MPI_Aint stride, MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_hindexed)(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype old, MPI_Datatype *type);
int TORO_NAME(MPI_Type_struct)(int count, int lengths[], MPI_Aint offsets[], MPI_Datatype types[], MPI_Datatype *type);
int TORO_NAME(MPI_Type_commit)(MPI_Datatype *type);
int TORO_NAME(MPI_Type_free)(MPI_Datatype *type);
int TORO_NAME(MPI_Type_size_x)(MPI_Datatype type, MPI_Count *size);
int TORO_NAME(MPI_Type_get_extent_x)(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int TORO_NAME(MPI_Type_get_true_extent_x)(MPI_Datatype type, MPI_Count *lower, MPI_Count *extent);
int TORO_NAME(MPI_Type_extent)(MPI_Datatype type, MPI_Aint *extent);
int TORO_NAME(MPI_Type_lb)(MPI_Datatype type, MPI_Aint *lower);
int TORO_NAME(MPI_Type_ub)(MPI_Datatype type, MPI_Aint *upper);
int TORO_NAME(MPI_Type_get_envelope)(MPI_Datatype type, int *integers, int *addresses, int *types, int *combiner);
int TORO_NAME(MPI_Type_get_envelope_c)(MPI_Datatype type, MPI_Count *integers, MPI_Count *addresses, MPI_Count *counts,
                                       MPI_Count *types, int *combiner);
int TORO_NAME(MPI_Type_get_contents)(MPI_Datatype type, int max_integers, int max_addresses, int max_types, int
                                     integers[], MPI_Aint addresses[], MPI_Datatype types[]);
int TORO_NAME(MPI_Type_get_contents_c)(MPI_Datatype type, MPI_Count max_integers, MPI_Count max_addresses, MPI_Count
                                       max_counts, MPI_Count max_types, int integers[], MPI_Aint addresses[], MPI_Count
                                       counts[], MPI_Datatype types[]);
int TORO_NAME(MPI_Type_get_name)(MPI_Datatype type, char *name, int *length);
int TORO_NAME(MPI_Type_set_name)(MPI_Datatype type, const char *name);
int TORO_NAME(MPI_Type_match_size)(int kind, int size, MPI_Datatype *type);
int TORO_NAME(MPI_Get_address)(const void *place, MPI_Aint *address);
int TORO_NAME(MPI_Address)(void *place, MPI_Aint *address);
MPI_Aint TORO_NAME(MPI_Aint_add)(MPI_Aint base, MPI_Aint offset);
MPI_Aint TORO_NAME(MPI_Aint_diff)(MPI_Aint a, MPI_Aint b);

/* Groups and communicators */
int TORO_NAME(MPI_Comm_size)(MPI_Comm comm, int *size);
int TORO_NAME(MPI_Comm_rank)(MPI_Comm comm, int *rank);
int TORO_NAME(MPI_Comm_group)(MPI_Comm comm, MPI_Group *group);
int TORO_NAME(MPI_Comm_compare)(MPI_Comm a, MPI_Comm b, int *result);
int TORO_NAME(MPI_Comm_dup)(MPI_Comm comm, MPI_Comm *made);
int TORO_NAME(MPI_Comm_dup_with_info)(MPI_Comm comm, MPI_Info info, MPI_Comm *made);
int TORO_NAME(MPI_Comm_idup)(MPI_Comm comm, MPI_Comm *made, MPI_Request *request);
int TORO_NAME(MPI_Comm_idup_with_info)(MPI_Comm comm, MPI_Info info, MPI_Comm *made, MPI_Request *request);
int TORO_NAME(MPI_Comm_create)(MPI_Comm comm, MPI_Group group, MPI_Comm *made);
int TORO_NAME(MPI_Comm_create_group)(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm *made);
int TORO_NAME(MPI_Comm_split)(MPI_Comm comm, int color, int key, MPI_Comm *made);
int TORO_NAME(MPI_Comm_split_type)(MPI_Comm comm, int kind, int key, MPI_Info info, MPI_Comm *made);
int TORO_NAME(MPI_Comm_free)(MPI_Comm *comm);
int TORO_NAME(MPI_Comm_set_name)(MPI_Comm comm, const char *name);
int TORO_NAME(MPI_Comm_get_name)(MPI_Comm comm, char *name, int *length);
int TORO_NAME(MPI_Comm_test_inter)(MPI_Comm comm, int *flag);
int TORO_NAME(MPI_Comm_remote_size)(MPI_Comm comm, int *size);
int TORO_NAME(MPI_Comm_remote_group)(MPI_Comm comm, MPI_Group *group);
int TORO_NAME(MPI_Comm_set_info)(MPI_Comm comm, MPI_Info info);
int TORO_NAME(MPI_Comm_get_info)(MPI_Comm comm, MPI_Info *info);
int TORO_NAME(MPI_Comm_get_parent)(MPI_Comm *parent);
int TORO_NAME(MPI_Comm_disconnect)(MPI_Comm *comm);
int TORO_NAME(MPI_Intercomm_create)(MPI_Comm local, int local_leader, MPI_Comm peer, int remote_leader, int tag,
                                    MPI_Comm *made);
int TORO_NAME(MPI_Intercomm_merge)(MPI_Comm inter, int high, MPI_Comm *made);
int TORO_NAME(MPI_Group_size)(MPI_Group group, int *size);
int TORO_NAME(MPI_Group_rank)(MPI_Group group, int *rank);
int TORO_NAME(MPI_Group_compare)(MPI_Group a, MPI_Group b, int *result);
int TORO_NAME(MPI_Group_translate_ranks)(MPI_Group a, int count, const int ranks[], MPI_Group b, int result[]);
int TORO_NAME(MPI_Group_union)(MPI_Group a, MPI_Group b, MPI_Group *made);
int TORO_NAME(MPI_Group_intersection)(MPI_Group a, MPI_Group b, MPI_Group *made);
int TORO_NAME(MPI_Group_difference)(MPI_Group a, MPI_Group b, MPI_Group *made);
int TORO_NAME(MPI_Group_incl)(MPI_Group group, int count, const int ranks[], MPI_Group *made);
int TORO_NAME(MPI_Group_excl)(MPI_Group group, int count, const int ranks[], MPI_Group *made);
int TORO_NAME(MPI_Group_range_incl)(MPI_Group group, int count, int ranges[][3], MPI_Group *made);
int TORO_NAME(MPI_Group_range_excl)(MPI_Group group, int count, int ranges[][3], MPI_Group *made);
int TORO_NAME(MPI_Group_free)(MPI_Group *group);

/* Attributes */
int TORO_NAME(MPI_Comm_create_keyval)(MPI_Comm_copy_attr_function *copy, MPI_Comm_delete_attr_function *remove, int
                                      *key, void *state);
int TORO_NAME(MPI_Comm_free_keyval)(int *key);
int TORO_NAME(MPI_Comm_set_attr)(MPI_Comm comm, int key, void *value);
int TORO_NAME(MPI_Comm_get_attr)(MPI_Comm comm, int key, void *value, int *flag);
int TORO_NAME(MPI_Comm_delete_attr)(MPI_Comm comm, int key);
int TORO_NAME(MPI_Keyval_create)(MPI_Copy_function *copy, MPI_Delete_function *remove, int *key, void *state);
int TORO_NAME(MPI_Keyval_free)(int *key);
int TORO_NAME(MPI_Attr_put)(MPI_Comm comm, int key, void *value);
int TORO_NAME(MPI_Attr_get)(MPI_Comm comm, int key, void *value, int *flag);
int TORO_NAME(MPI_Attr_delete)(MPI_Comm comm, int key);
int TORO_NAME(MPI_Type_create_keyval)(MPI_Type_copy_attr_function *copy, MPI_Type_delete_attr_function *remove, int
                                      *key, void *state);
int TORO_NAME(MPI_Type_free_keyval)(int *key);
int TORO_NAME(MPI_Type_set_attr)(MPI_Datatype type, int key, void *value);
int TORO_NAME(MPI_Type_get_attr)(MPI_Datatype type, int key, void *value, int *flag);
int TORO_NAME(MPI_Type_delete_attr)(MPI_Datatype type, int key);
int TORO_NAME(MPI_Win_create_keyval)(MPI_Win_copy_attr_function *copy, MPI_Win_delete_attr_function *remove, int *key,
                                     void *state);
int TORO_NAME(MPI_Win_free_keyval)(int *key);
int TORO_NAME(MPI_Win_set_attr)(MPI_Win win, int key, void *value);
int TORO_NAME(MPI_Win_get_attr)(MPI_Win win, int key, void *value, int *flag);
int TORO_NAME(MPI_Win_delete_attr)(MPI_Win win, int key);

/* Topologies */
int TORO_NAME(MPI_Dims_create)(int nodes, int dimensions, int sizes[]);
int TORO_NAME(MPI_Cart_create)(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int reorder,
                               MPI_Comm *made);
int TORO_NAME(MPI_Cartdim_get)(MPI_Comm comm, int *dimensions);
int TORO_NAME(MPI_Cart_get)(MPI_Comm comm, int max, int sizes[], int periodic[], int coordinates[]);
int TORO_NAME(MPI_Cart_rank)(MPI_Comm comm, const int coordinates[], int *rank);
int TORO_NAME(MPI_Cart_coords)(MPI_Comm comm, int rank, int max, int coordinates[]);
int TORO_NAME(MPI_Cart_shift)(MPI_Comm comm, int dimension, int distance, int *source, int *destination);
int TORO_NAME(MPI_Cart_sub)(MPI_Comm comm, const int kept[], MPI_Comm *made);
int TORO_NAME(MPI_Cart_map)(MPI_Comm comm, int dimensions, const int sizes[], const int periodic[], int *rank);
int TORO_NAME(MPI_Graph_create)(MPI_Comm comm, int nodes, const int index[], const int edges[], int reorder, MPI_Comm
                                *made);
int TORO_NAME(MPI_Graphdims_get)(MPI_Comm comm, int *nodes, int *edges);
int TORO_NAME(MPI_Graph_get)(MPI_Comm comm, int max_index, int max_edges, int index[], int edges[]);
int TORO_NAME(MPI_Graph_neighbors_count)(MPI_Comm comm, int rank, int *count);
int TORO_NAME(MPI_Graph_neighbors)(MPI_Comm comm, int rank, int max, int neighbors[]);
int TORO_NAME(MPI_Graph_map)(MPI_Comm comm, int nodes, const int index[], const int edges[], int *rank);
int TORO_NAME(MPI_Dist_graph_create_adjacent)(MPI_Comm comm, int source_count, const int sources[], const int
                                              source_weights[], int destination_count, const int destinations[], const
                                              int destination_weights[], MPI_Info info, int reorder, MPI_Comm *made);
int TORO_NAME(MPI_Dist_graph_create)(MPI_Comm comm, int nodes, const int sources[], const int degrees[], const int
                                     destinations[], const int weights[], MPI_Info info, int reorder, MPI_Comm *made);
int TORO_NAME(MPI_Dist_graph_neighbors_count)(MPI_Comm comm, int *source_count, int *destination_count, int *weighted);
int TORO_NAME(MPI_Dist_graph_neighbors)(MPI_Comm comm, int max_sources, int sources[], int source_weights[], int
                                        max_destinations, int destinations[], int destination_weights[]);
int TORO_NAME(MPI_Topo_test)(MPI_Comm comm, int *kind);

/* Errors */
int TORO_NAME(MPI_Comm_create_errhandler)(MPI_Comm_errhandler_function *function, MPI_Errhandler *handler);
int TORO_NAME(MPI_Comm_set_errhandler)(MPI_Comm comm, MPI_Errhandler handler);
int TORO_NAME(MPI_Comm_get_errhandler)(MPI_Comm comm, MPI_Errhandler *handler);
int TORO_NAME(MPI_Comm_call_errhandler)(MPI_Comm comm, int code);
int TORO_NAME(MPI_Errhandler_create)(MPI_Handler_function *function, MPI_Errhandler *handler);
int TORO_NAME(MPI_Errhandler_set)(MPI_Comm comm, MPI_Errhandler handler);
int TORO_NAME(MPI_Errhandler_get)(MPI_Comm comm, MPI_Errhandler *handler);
int TORO_NAME(MPI_Errhandler_free)(MPI_Errhandler *handler);
int TORO_NAME(MPI_Win_create_errhandler)(MPI_Win_errhandler_function *function, MPI_Errhandler *handler);
int TORO_NAME(MPI_Win_set_errhandler)(MPI_Win win, MPI_Errhandler handler);
int TORO_NAME(MPI_Win_get_errhandler)(MPI_Win win, MPI_Errhandler *handler);
int TORO_NAME(MPI_Win_call_errhandler)(MPI_Win win, int code);
int TORO_NAME(MPI_Error_class)(int code, int *error_class);
int TORO_NAME(MPI_Error_string)(int code, char *text, int *length);
int TORO_NAME(MPI_Add_error_class)(int *error_class);
int TORO_NAME(MPI_Add_error_code)(int error_class, int *code);
int TORO_NAME(MPI_Add_error_string)(int code, const char *text);

/* Info */
int TORO_NAME(MPI_Info_create)(MPI_Info *info);
int TORO_NAME(MPI_Info_create_env)(int argc, char *argv[], MPI_Info *info);
int TORO_NAME(MPI_Info_free)(MPI_Info *info);
int TORO_NAME(MPI_Info_dup)(MPI_Info info, MPI_Info *made);
int TORO_NAME(MPI_Info_set)(MPI_Info info, const char *key, const char *value);
int TORO_NAME(MPI_Info_get)(MPI_Info info, const char *key, int size, char *value, int *flag);
int TORO_NAME(MPI_Info_get_string)(MPI_Info info, const char *key, int *size, char *value, int *flag);
int TORO_NAME(MPI_Info_get_valuelen)(MPI_Info info, const char *key, int *length, int *flag);
int TORO_NAME(MPI_Info_get_nkeys)(MPI_Info info, int *count);
int TORO_NAME(MPI_Info_get_nthkey)(MPI_Info info, int n, char *key);
int TORO_NAME(MPI_Info_delete)(MPI_Info info, const char *key);

/* One-sided communication */
int TORO_NAME(MPI_Win_create_dynamic)(MPI_Info info, MPI_Comm comm, MPI_Win *win);
int TORO_NAME(MPI_Win_attach)(MPI_Win win, void *base, MPI_Aint size);
int TORO_NAME(MPI_Win_detach)(MPI_Win win, const void *base);
int TORO_NAME(MPI_Win_free)(MPI_Win *win);
int TORO_NAME(MPI_Win_get_group)(MPI_Win win, MPI_Group *group);
int TORO_NAME(MPI_Win_set_name)(MPI_Win win, const char *name);
int TORO_NAME(MPI_Win_get_name)(MPI_Win win, char *name, int *length);
int TORO_NAME(MPI_Win_fence)(int assertion, MPI_Win win);
int TORO_NAME(MPI_Win_post)(MPI_Group group, int assertion, MPI_Win win);
int TORO_NAME(MPI_Win_start)(MPI_Group group, int assertion, MPI_Win win);
int TORO_NAME(MPI_Win_complete)(MPI_Win win);
int TORO_NAME(MPI_Win_wait)(MPI_Win win);
int TORO_NAME(MPI_Win_test)(MPI_Win win, int *flag);
int TORO_NAME(MPI_Win_lock)(int kind, int rank, int assertion, MPI_Win win);
int TORO_NAME(MPI_Win_unlock)(int rank, MPI_Win win);
int TORO_NAME(MPI_Win_lock_all)(int assertion, MPI_Win win);
int TORO_NAME(MPI_Win_unlock_all)(MPI_Win win);
int TORO_NAME(MPI_Win_flush)(int rank, MPI_Win win);
int TORO_NAME(MPI_Win_flush_all)(MPI_Win win);
int TORO_NAME(MPI_Win_flush_local)(int rank, MPI_Win win);
int TORO_NAME(MPI_Win_flush_local_all)(MPI_Win win);
int TORO_NAME(MPI_Win_sync)(MPI_Win win);
int TORO_NAME(MPI_Fetch_and_op)(const void *data, void *result, MPI_Datatype type, int rank, MPI_Aint offset, MPI_Op
                                operation, MPI_Win win);
int TORO_NAME(MPI_Compare_and_swap)(const void *data, const void *compare, void *result, MPI_Datatype type, int rank,
                                    MPI_Aint offset, MPI_Win win);

/* Handles of other languages: there are none, so a handle is its own number. Objects of the heap are at multiples of 16. */
#define TORO_HANDLE(T, c2f, f2c)                                                                                       \
    static __inline__ MPI_Fint c2f(T handle)                                                                           \
    {                                                                                                                  \
        return handle;                                                                                                 \
    }                                                                                                                  \
    static __inline__ T f2c(MPI_Fint number)                                                                           \
    {                                                                                                                  \
        return number;                                                                                                 \
    }
#define TORO_OBJECT(T, c2f, f2c)                                                                                       \
    static __inline__ MPI_Fint c2f(T object)                                                                           \
    {                                                                                                                  \
        return object == (T)-1 ? -1 : (MPI_Fint)((intptr_t)object >> 4);                                               \
    }                                                                                                                  \
    static __inline__ T f2c(MPI_Fint number)                                                                           \
    {                                                                                                                  \
        return number == -1 ? (T)-1 : (T)((intptr_t)number << 4);                                                      \
    }
TORO_HANDLE(MPI_Comm, TORO_NAME(MPI_Comm_c2f), TORO_NAME(MPI_Comm_f2c))
TORO_HANDLE(MPI_Datatype, TORO_NAME(MPI_Type_c2f), TORO_NAME(MPI_Type_f2c))
TORO_HANDLE(MPI_Group, TORO_NAME(MPI_Group_c2f), TORO_NAME(MPI_Group_f2c))
TORO_HANDLE(MPI_Op, TORO_NAME(MPI_Op_c2f), TORO_NAME(MPI_Op_f2c))
TORO_HANDLE(MPI_Win, TORO_NAME(MPI_Win_c2f), TORO_NAME(MPI_Win_f2c))
TORO_HANDLE(MPI_Info, TORO_NAME(MPI_Info_c2f), TORO_NAME(MPI_Info_f2c))
TORO_HANDLE(MPI_Errhandler, TORO_NAME(MPI_Errhandler_c2f), TORO_NAME(MPI_Errhandler_f2c))
TORO_OBJECT(MPI_Request, TORO_NAME(MPI_Request_c2f), TORO_NAME(MPI_Request_f2c))
TORO_OBJECT(MPI_Message, TORO_NAME(MPI_Message_c2f), TORO_NAME(MPI_Message_f2c))

#undef TORO_NAME
