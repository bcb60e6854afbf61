/* Landlock, the wall around a thread's files and TCP ports. */
#ifndef PYVMM_LANDLOCK_H
#define PYVMM_LANDLOCK_H

#include <errno.h>

#include "sandbox.h"

/* Whether a call has failed for want of descriptors or memory. */
static inline bool is_shortage(void)
{
    return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

PYTHON int landlock_abi(void);
PYTHON int landlock_ports(const uint16_t *ports, uint32_t count);
bool landlock_restrict(const struct sandbox *sandbox, enum sandbox_thread thread);

#endif
