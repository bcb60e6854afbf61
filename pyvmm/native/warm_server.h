/* The protocol between a `pyvmm boot` and the warm process that boots for it, on a unix
 * stream socket.  Both are the same executable on the same host. */
#ifndef PYVMM_WARM_H
#define PYVMM_WARM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "python.h"

/* From the client, with its stdin, stdout and stderr (SCM_RIGHTS); followed by `bytes`
 * of strings with their NULs: the words after `pyvmm`, then the environment. */
struct warm_request {
    uint32_t words, variables, bytes, reserved;
    uint64_t started_ns; /* CLOCK_MONOTONIC when the client began */
};

#define WARM_BYTES_MAX (128u << 10)

PYTHON enum warm_reply_kind {
    WARM_ACCEPTED, /* value: the pid to send signals to */
    WARM_ENDED,    /* value: the exit status */
};

struct warm_reply {
    int32_t kind, value;
};

PYTHON bool warm_address(struct sockaddr_un *address);
PYTHON void warm_know_myself(void);
PYTHON int warm_accept(int fd);
PYTHON const char *warm_serve(int fd, uint32_t *words, uint64_t *started_ns);
PYTHON bool warm_reply(int fd, int kind, int value);
PYTHON void warm_populate(void);
PYTHON void warm_die_with(int parent);

#endif
