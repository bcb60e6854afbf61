/* MPI_Pack and MPI_Unpack: packed data are the elements one behind the other. */
#include "internal.h"

#define NAME(name) name
#define COUNT int
#include "pack.h"

#define NAME(name) name##_c
#define COUNT MPI_Count
#include "pack.h"
