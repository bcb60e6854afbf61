/* The compiler's own. */
#include <stdint-gcc.h>
