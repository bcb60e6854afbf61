/* A guest that runs before there is Python. */
#ifndef PYVMM_GUEST_H
#define PYVMM_GUEST_H

#include "cache.h"
#include "entry.h"
#include "machine.h"

extern struct guest {
    struct words words;
    struct cache cache;
    struct state state;
    struct machine machine; /* without vCPUs: there is none */
    struct entry entry;
} guest;

void guest_boot(char **rest);

/* main.c: what the interpreter may have to read, up to NULL */
const char *const *interpreter_files(void);

#endif
