/* What handles stand for: types, operations, groups and communicators, and their attributes. Part of internal.h. */
#ifndef MPI_HANDLES_H
#define MPI_HANDLES_H

/* ---- type.c ---- */

struct block {
    MPI_Aint offset;
    size_t size;
    int unit; /* size of its basic elements */
};

struct values {
    MPI_Count count, *list;
};

struct type {
    size_t size;
    MPI_Aint lower, extent, true_lower, true_extent;
    bool plain;     /* data without gaps, from offset 0 */
    bool predefined;
    int kind;       /* the basic type of all its elements; -1: several */
    int alignment;  /* bytes */
    int references; /* handles, types made of it */
    int handles;
    int block_count;
    size_t elements;
    struct block *blocks;
    int combiner, type_count;
    struct values integers, addresses, counts; /* that it was made with */
    struct type **types;
    struct attribute *attributes;
    char name[NAME_SIZE];
};

extern struct table mpi_types;
void mpi_start_types(void);

/* What a handle stands for; null: nothing. Programs may ask before MPI_Init. */
static inline struct type *mpi_type(MPI_Datatype handle)
{
    if (__builtin_expect(!mpi_types.size, false))
        mpi_start_types();
    return mpi_table_at(&mpi_types, handle);
}

MPI_Datatype mpi_add_type(struct type *type);
/* The program may free a type while an operation uses it. */
void mpi_hold_type(struct type *type);
void mpi_release_type(struct type *type);
/* Copy between typed and contiguous memory: `bytes` of them at most. */
void mpi_pack(const void *data, MPI_Count count, const struct type *type, void *to);
void mpi_unpack(const void *from, size_t bytes, void *data, MPI_Count count, const struct type *type);
/* From one typed place to another, whose capacity is not less. */
int mpi_copy_typed(const void *from, MPI_Count from_count, MPI_Datatype from_type, void *to, MPI_Count to_count,
                   MPI_Datatype to_type);
/* Whether data cannot be at an address: only types with offsets of their own begin at MPI_BOTTOM. */
static inline bool mpi_lacks(const void *data, MPI_Count count, const struct type *type)
{
    return !data && count > 0 && type->plain && type->size;
}
/* The address of an element. */
static inline char *mpi_at(const void *data, MPI_Aint index, MPI_Datatype type)
{
    return (char *)data + index * mpi_type(type)->extent;
}

/* ---- op.c ---- */

bool mpi_can_combine(MPI_Op operation, MPI_Datatype type);
bool mpi_commutes(MPI_Op operation);
/* inout[i] = in[i] operation inout[i] */
void mpi_combine(const void *in, void *inout, MPI_Count count, MPI_Datatype type, MPI_Op operation);
/* Memory for elements: release with mpi_discard. */
void *mpi_elements(MPI_Count count, MPI_Datatype type);
void mpi_discard(void *elements, MPI_Datatype type);

/* ---- comm.c, group.c ---- */

struct group {
    int size, references;
    int world[];
};

struct communicator {
    MPI_Comm handle;
    int context; /* twice a number that its members agree on: point to point; plus 1: collective */
    int rank, size, remote_size; /* remote_size is size, unless it is an intercommunicator */
    struct group *group, *remote;
    const int *peers; /* world ranks of those that messages go to */
    struct communicator *local; /* an intercommunicator's own side; else null */
    int sequence;               /* of collective operations */
    int references;
    MPI_Errhandler handler;
    struct topology *topology;
    struct attribute *attributes;
    char name[NAME_SIZE];
};

extern struct table mpi_comms;

static inline struct communicator *mpi_comm(MPI_Comm handle)
{
    return mpi_table_at(&mpi_comms, handle);
}

struct communicator *mpi_world(void);
void mpi_release_comm(struct communicator *comm);
/* A communicator of a group, whose members all call this with the same context. */
struct communicator *mpi_make_comm(struct group *group, int context, struct communicator *parent);
/* A context that no communicator has, nor the three numbers after it; and one for all ranks of a communicator. */
int mpi_new_context(void);
int mpi_agree_on_context(struct communicator *comm);
/* Takes a communicator out of the table of handles: it is a part of another. */
void mpi_hide_comm(struct communicator *comm);
/* Members of a color, of what MPI_Comm_split has gathered. */
struct group *mpi_members_of(const void *members, int count, int color);
int mpi_create_inter(struct communicator *comm, struct group *group, MPI_Comm *made);
int mpi_split_inter(struct communicator *comm, int color, struct group *mine, const void *self, MPI_Comm *made);
void mpi_release_topology(struct topology *topology);
struct group *mpi_group(MPI_Group handle);
struct group *mpi_make_group(int size);
MPI_Group mpi_add_group(struct group *group);
void mpi_release_group(struct group *group);
int mpi_rank_in(const struct group *group, int world);

/* ---- attribute.c ---- */

int mpi_copy_attributes(int handle, struct attribute *from, struct attribute **to);
int mpi_delete_attributes(int handle, struct attribute **attributes);
int mpi_set_attribute(int handle, struct attribute **attributes, int key, void *value);
int mpi_get_attribute(struct attribute *attributes, int key, void *value, int *flag);
int mpi_delete_attribute(int handle, struct attribute **attributes, int key);

#endif
