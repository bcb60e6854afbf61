/* Child processes. */
#ifndef PYVMM_SPAWN_H
#define PYVMM_SPAWN_H

#include <stdbool.h>

#include "python.h"

PYTHON int spawn(char *const *argv, int keep, int output, const char *read_only, bool as_root);

#endif
