/* The boot cache: States at time zero, by what they depend on. */
#ifndef PYVMM_CACHE_H
#define PYVMM_CACHE_H

#include <limits.h>

#include "words.h"

#define KEY_MAX (12u << 10)

struct cache {
    uint32_t key_size;
    char name[33];            /* of the entry in the directory */
    uint8_t key[KEY_MAX];     /* all that the entry depends on */
    char directory[PATH_MAX]; /* empty: there is none */
};

bool cache_locate(struct cache *cache, const struct words *words);
bool cache_open(const struct cache *cache, struct state *state);

#endif
