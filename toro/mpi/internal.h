/* What the files of MPI share.
 *
 * Every rank is a core with variables of its own, so an ordinary static variable belongs to one
 * rank, and handles are indices into its tables. What ranks share is marked SHARED, and memory of
 * the heap is. Addresses that are given to other ranks are those of toro_shared_address.
 *
 * The way of a message (ring.c, match.c, message.c): the sender writes a header to its ring to the
 * receiver, and behind it the data if they are short. Data that are longer stay where they are: the
 * header leads to an offer, from which the receiver copies them. The receiver takes headers from
 * its rings whenever it is in a call of MPI, and looks for a receive that was posted; without one it
 * keeps what has arrived. */
#ifndef MPI_INTERNAL_H
#define MPI_INTERNAL_H

#include "mpi.h"
#include "toro.h"

#include <stdatomic.h>
#include <stdbool.h>

void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);

#define RANKS_MAX 255
#define NAME_SIZE MPI_MAX_OBJECT_NAME

static inline uint64_t ticks(void)
{
    return __builtin_ia32_rdtsc();
}

/* Memory, or the end with a message. */
void *mpi_memory(size_t size);
void *mpi_cleared(size_t size);
/* Copies; efficient for any size. */
void mpi_copy(void *to, const void *from, size_t size);

/* Copies up to 48 bytes. */
static inline void mpi_copy_short(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;
    if (size >= 16) {
        __builtin_memcpy(target, source, 16);
        if (size > 32)
            __builtin_memcpy(target + 16, source + 16, 16);
        __builtin_memcpy(target + size - 16, source + size - 16, 16);
    } else if (size >= 8) {
        __builtin_memcpy(target, source, 8);
        __builtin_memcpy(target + size - 8, source + size - 8, 8);
    } else if (size >= 4) {
        __builtin_memcpy(target, source, 4);
        __builtin_memcpy(target + size - 4, source + size - 4, 4);
    } else if (size) {
        target[0] = source[0];
        target[size / 2] = source[size / 2];
        target[size - 1] = source[size - 1];
    }
}

/* Copies to where other ranks read next. They have read there before, so the lines are in their caches, and to take each
 * back costs more than to write around the caches. */
void mpi_publish(void *to, const void *from, size_t size);
void mpi_copy_text(char *to, const char *from, size_t size, int *length);
bool mpi_same_text(const char *a, const char *b);

/* ---- table.c: what handles stand for ---- */

struct table {
    void **entries;
    int size, first; /* handles below `first` are never reused */
};
int mpi_table_add(struct table *table, void *entry);
void mpi_table_remove(struct table *table, int handle);

static inline void *mpi_table_at(const struct table *table, int handle)
{
    return (unsigned)handle < (unsigned)table->size ? table->entries[handle] : NULL;
}

#include "handles.h"
#include "message.h"
#include "collective.h"

/* ---- error.c ---- */

/* Handles an error of a call as its communicator says; returns the code if it returns. */
int mpi_fail(struct communicator *comm, const char *call, int code);
int mpi_fail_in_window(int win, const char *call, int code);
void mpi_call_window_handler(MPI_Errhandler handler, MPI_Win *win, int code, const char *call);
bool mpi_handler_exists(MPI_Errhandler handler);
extern int mpi_last_used; /* error code */
void mpi_die(const char *call, const char *text) __attribute__((noreturn));

#define FAIL(comm, code) return mpi_fail(comm, __func__, code)
#define CHECK(comm, holds, code)                                                                                       \
    do                                                                                                                 \
        if (!(holds))                                                                                                  \
            FAIL(comm, code);                                                                                          \
    while (0)
/* Declares `name` as what a handle stands for. */
#define COMMUNICATOR(name, handle)                                                                                     \
    struct communicator *name = mpi_comm(handle);                                                                      \
    CHECK(NULL, name, MPI_ERR_COMM)
#define GROUP(name, handle)                                                                                            \
    struct group *name = mpi_group(handle);                                                                            \
    CHECK(NULL, name, MPI_ERR_GROUP)
#define TYPE(name, handle)                                                                                             \
    struct type *name = mpi_type(handle);                                                                              \
    CHECK(NULL, name, MPI_ERR_TYPE)

/* ---- world.c ---- */

enum mpi_phase { BEFORE, RUNNING, AFTER };
extern enum mpi_phase mpi_phase;
extern int mpi_rank, mpi_size; /* in MPI_COMM_WORLD */
/* What the first call of MPI does, whichever it is: programs in Pascal do not call MPI_Init. */
void mpi_start(void);
void mpi_start_comms(void);

#endif
