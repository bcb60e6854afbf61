/* Memory and text, also for programs without a C library. */
#include "internal.h"

#define STRING_MIN 1024 /* from which on `rep movsb` is faster */
#define PAGE 4096
#define LINE 64
#define SHORT 48      /* bytes, as mpi_copy_short copies them */
#define AHEAD 1024 /* bytes: another core's cache is far */

typedef long long vector __attribute__((vector_size(16), aligned(1), may_alias));

void *mpi_memory(size_t size)
{
    void *memory = toro_memory(size);
    if (!memory)
        mpi_die("MPI", "no memory is left");
    return memory;
}

void *mpi_cleared(size_t size)
{
    return memset(mpi_memory(size), 0, size);
}

/* Some processors (Zen 3 and 4) take each store of `rep movsb` for one that the next loads depend on, if the target is less
 * than a line behind the source within a page, and are then 4 to 25 times slower; half a line is no problem. */
static bool is_slow_string(const char *to, const char *from)
{
    uintptr_t behind = (uintptr_t)(to - from) % PAGE;
    return behind && behind < LINE && behind != LINE / 2;
}

void mpi_copy(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;

    if (size >= STRING_MIN && !is_slow_string(target, source)) {
        __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
        return;
    }
    if (size <= SHORT) {
        mpi_copy_short(target, source, size);
        return;
    }
    for (; size > LINE; size -= LINE, target += LINE, source += LINE) {
        if (size > AHEAD)
            __builtin_prefetch(source + AHEAD);
        vector a = *(const vector *)source, b = *(const vector *)(source + 16);
        vector c = *(const vector *)(source + 32), d = *(const vector *)(source + 48);
        *(vector *)target = a;
        *(vector *)(target + 16) = b;
        *(vector *)(target + 32) = c;
        *(vector *)(target + 48) = d;
    }
    for (; size > 16; size -= 16, target += 16, source += 16)
        *(vector *)target = *(const vector *)source;
    *(vector *)(target + size - 16) = *(const vector *)(source + size - 16);
}

void mpi_publish(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;
    size_t first = -(uintptr_t)target & 15;

    first = first < size ? first : size;
    mpi_copy(target, source, first);
    for (target += first, source += first, size -= first; size >= 16; size -= 16, target += 16, source += 16)
        __builtin_ia32_movntdq((__attribute__((vector_size(16))) long long *)target, *(const vector *)source);
    __builtin_ia32_sfence();
    mpi_copy(target, source, size);
}

void mpi_copy_text(char *to, const char *from, size_t size, int *length)
{
    size_t n = 0;
    for (; from[n] && n + 1 < size; n++)
        to[n] = from[n];
    to[n] = 0;
    if (length)
        *length = n;
}

bool mpi_same_text(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return *a == *b;
}
