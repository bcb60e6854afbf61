/* Confines threads: whoever takes pyvmm over can ask next to nothing of the host. */
#ifndef PYVMM_SANDBOX_H
#define PYVMM_SANDBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "python.h"

/* In the order of policy.THREADS. */
PYTHON enum sandbox_thread {
    SANDBOX_VCPU,
    SANDBOX_RELAY,
    SANDBOX_MAIN,
    SANDBOX_START, /* the main thread, until Python is up and devices are attached */
    SANDBOX_SAMPLER,
    SANDBOX_THREADS,
};

/* What a filter is to allow besides; policy.FEATURES of each thread. */
PYTHON enum sandbox_feature {
    SANDBOX_PC = 1,
    SANDBOX_TCP = 2,
    SANDBOX_UNIX = 4,
    SANDBOX_FREEZE = 8,
    SANDBOX_TIMING = 16,
    SANDBOX_GDB = 32,
    SANDBOX_REGISTRY = 64,
    SANDBOX_PUBLISH = 128,
};

/* What a confined thread has; those that the host refuses are missing. */
PYTHON enum sandbox_wall {
    SANDBOX_NO_NEW_PRIVS = 1,
    SANDBOX_USER = 2,
    SANDBOX_CAPABILITIES = 4,
    SANDBOX_LANDLOCK = 8,
    SANDBOX_SECCOMP = 16,
    SANDBOX_LIMITS = 32,
};

PYTHON enum sandbox_mode {
    SANDBOX_OFF,
    SANDBOX_ON,
    SANDBOX_REQUIRED,
    SANDBOX_DEFAULT = SANDBOX_ON, /* without --sandbox */
};

/* What all threads of this process are confined by. */
PYTHON struct sandbox {
    uint32_t mode, features;
    int vm_fd;
    bool writes;            /* files will be written, besides standard streams */
    int64_t user, group;    /* of root's guests; -1: they keep theirs */
    const char *const *files; /* that SANDBOX_START may read, and directories, up to NULL */
    bool named_user;        /* by --user */
    bool started;           /* the main thread is at SANDBOX_START, or beyond */
    int entry_fd, registry_fd; /* directories: the guest's in the registry, and that; -1: none */
    int report_fd;          /* of --timing, or -1 */
    int image_fd;           /* for a crash report, or -1 */
    int ports_fd;           /* a Landlock ruleset for SANDBOX_RELAY, or -1: no ports */
    uint32_t missing;       /* walls that some thread lacks */
    int error;              /* errno of the last of them */
};

PYTHON struct sandbox *sandbox_of_process(void);
PYTHON bool sandbox_begin(enum sandbox_mode mode, const char *user);
PYTHON void sandbox_settle_heap(void);
PYTHON void sandbox_ends(void);
void sandbox_wait_for(pthread_t thread);
PYTHON void sandbox_thread(enum sandbox_thread thread, int vcpu_fd);

#endif
