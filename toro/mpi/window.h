/* Windows of one-sided communication: window.c, allocate.c, access.c. */
#ifndef MPI_WINDOW_H
#define MPI_WINDOW_H

#include "internal.h"

struct lock {
    _Atomic int holders; /* of a lock of MPI_Win_lock */
    _Atomic int busy;    /* with an accumulation */
};

/* A rank's memory in a window. */
struct part {
    char *base;
    MPI_Aint size, unit;
    struct lock *lock;
};

struct window {
    struct communicator *comm;
    struct part *parts;
    void *base, *whole; /* whole: of all ranks, if this one has allocated it */
    MPI_Aint size;
    int unit, flavor, model;
    MPI_Errhandler handler;
    int *held; /* the kinds of locks that this rank holds */
    struct group *exposed, *accessed;
    int heard;
    struct attribute *attributes;
    char name[NAME_SIZE];
};

struct window *mpi_window(MPI_Win handle);
MPI_Win mpi_add_window(struct window *window);

#define CHECK_WINDOW(win, holds, code)                                                                                 \
    do                                                                                                                 \
        if (!(holds))                                                                                                  \
            return mpi_fail_in_window(win, __func__, code);                                                            \
    while (0)
#define WINDOW(name, handle)                                                                                           \
    struct window *name = mpi_window(handle);                                                                          \
    CHECK(NULL, name, MPI_ERR_WIN)

#endif
