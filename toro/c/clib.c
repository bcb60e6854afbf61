/* The C library of Toro's C programs, except stdio.h (printf.c). malloc, realloc, free and exit
 * are in toro/mpi/MpiForC.pas. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The program's main, renamed by `pyvmm build`, or its mainC. */
int toro_c_main(int argc, char **argv) __attribute__((weak));
void mainC(void) __attribute__((weak));

int toro_run_c(int argc, char **argv)
{
    if (toro_c_main)
        return toro_c_main(argc, argv);
    mainC();
    return 0;
}

/* ---- string.h ---- */

void *memcpy(void *to, const void *from, size_t size)
{
    void *end = to;
    __asm__ volatile("rep movsb" : "+D"(end), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    if ((uintptr_t)to - (uintptr_t)from >= size)
        return memcpy(to, from, size);
    for (volatile char *end = to; size--;)
        end[size] = ((const char *)from)[size];
    return to;
}

void *memset(void *to, int value, size_t size)
{
    void *end = to;
    __asm__ volatile("rep stosb" : "+D"(end), "+c"(size) : "a"(value) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    while (*end)
        end++;
    return end - text;
}

int strncmp(const char *a, const char *b, size_t size)
{
    for (; size; size--, a++, b++)
        if (*a != *b || !*a)
            return (unsigned char)*a - (unsigned char)*b;
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strcpy(char *to, const char *from)
{
    return memcpy(to, from, strlen(from) + 1);
}

char *strchr(const char *text, int c)
{
    for (; *text != (char)c; text++)
        if (!*text)
            return NULL;
    return (char *)text;
}

/* ---- stdlib.h ---- */

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    void *memory = __builtin_mul_overflow(count, size, &bytes) ? NULL : malloc(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

int atoi(const char *text)
{
    bool negative = *text == '-';
    int value = 0;
    for (text += negative || *text == '+'; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    return negative ? -value : value;
}

int abs(int value)
{
    return value < 0 ? -value : value;
}
