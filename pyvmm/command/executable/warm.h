#ifndef PYVMM_LAUNCHER_WARM_H
#define PYVMM_LAUNCHER_WARM_H

#include <stdbool.h>

int warm_boot(char **words);

#endif
