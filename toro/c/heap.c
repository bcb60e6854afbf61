/* malloc and its relatives, on Toro's heap. */
#include "toro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (!memory)
        errno = ENOMEM;
    return memory;
}

void *malloc(size_t size)
{
    return checked(toro_memory(size ? size : 1));
}

void free(void *memory)
{
    if (memory)
        toro_release(memory);
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    void *memory = __builtin_mul_overflow(count, size, &bytes) ? checked(NULL) : malloc(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void *realloc(void *memory, size_t size)
{
    return memory ? checked(toro_resize(memory, size ? size : 1)) : malloc(size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (!alignment || alignment & (alignment - 1)) {
        errno = EINVAL;
        return NULL;
    }
    return checked(toro_aligned_memory(size ? size : 1, alignment < 16 ? 16 : alignment));
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

void *valloc(size_t size)
{
    return aligned_alloc(4096, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || alignment & (alignment - 1))
        return EINVAL;
    *memory = toro_aligned_memory(size ? size : 1, alignment);
    return *memory ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *memory)
{
    return memory ? toro_memory_size(memory) : 0;
}
