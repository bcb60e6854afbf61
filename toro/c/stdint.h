/* The compiler's own header. */
#include <stdint-gcc.h>
