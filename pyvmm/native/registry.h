/* The registry of this user's guests: a directory, with one of its own for each. */
#ifndef PYVMM_REGISTRY_H
#define PYVMM_REGISTRY_H

#include <stdbool.h>

#include "python.h"

#define REGISTRY_NAME_MAX 64   /* of a guest */
#define REGISTRY_PATH_MAX 4096 /* with the 0 at its end */

PYTHON enum registry_error { REGISTRY_FOREIGN = -2 };

PYTHON bool registry_path(char *path);
PYTHON int registry_open(bool make);
PYTHON void registry_make_up(char *name, const char *image);

#endif
