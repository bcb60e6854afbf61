/* The command line of `pyvmm boot`, as far as C needs to know it. */
#ifndef PYVMM_WORDS_H
#define PYVMM_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

struct words {
    const char *image;
    /* Values of options, or NULL. */
    const char *memory, *cpus, *append, *boot, *initrd, *pin, *sandbox, *user;
    uint32_t device_count, devices[STATE_DEVICES]; /* virtio device IDs, in slot order */
    bool shared;    /* another process is to map guest memory */
    bool by_python; /* the guest needs something that Python serves, from the beginning */
    bool timed;     /* Python reports about it at its end, */
    const char *report; /* to this file, unless NULL */
    bool cached;    /* the boot cache may be used */
};

bool words_read(struct words *words, char **rest);

#endif
