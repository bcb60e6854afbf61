/* Tables that build.py writes: options of `boot`, and sources of a development install. */
#ifndef PYVMM_OPTIONS_H
#define PYVMM_OPTIONS_H

#include <stdint.h>

enum option_kind { FLAG, OPTIONAL, VALUE, REPEATABLE };

struct option {
    const char *name;
    enum option_kind kind;
};

struct source {
    const char *path;
    uint64_t mtime_ns, size;
};

extern const struct option boot_options[];   /* up to one without a name */
extern const struct source composing_sources[]; /* likewise without a path */

#endif
