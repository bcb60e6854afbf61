/* The tables. */
#include "options.h"

#include "options.inc"
