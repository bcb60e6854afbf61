/* The host CPU of each vCPU. */
#ifndef PYVMM_PIN_H
#define PYVMM_PIN_H

#include <stdint.h>

#include "python.h"

PYTHON enum pin_result {
    PIN_READ,
    PIN_NO_LIST,     /* neither `auto` nor a list */
    PIN_NOT_ALLOWED, /* of `detail`, a CPU that this process may not use */
    PIN_TOO_FEW,     /* there are `detail` CPUs in it */
};

PYTHON enum pin_result pin_read(const char *text, uint32_t cpus, int *pins, uint32_t *detail);

#endif
