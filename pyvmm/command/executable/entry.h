/* A guest's entry in the registry of its user's guests (pyvmm/control/entry.py). */
#ifndef PYVMM_ENTRY_H
#define PYVMM_ENTRY_H

#include <stdbool.h>

#include "machine.h"
#include "registry.h"

struct entry {
    char name[REGISTRY_NAME_MAX + 1]; /* empty: there is none */
    int directory, socket;         /* -1: likewise */
};

void entry_make(struct entry *entry, int registry, const char *image, const struct machine *machine);
void entry_remove(struct entry *entry);

#endif
