/* Output to Toro's console. */
#ifndef STDIO_H
#define STDIO_H

#include <stdarg.h>
#include <stddef.h>

/* Conversions: %d %i %u %x %X %o %c %s %p %f %e %g %%, with flags, width, precision, h, l, ll
 * and z. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vprintf(const char *format, va_list arguments);
int snprintf(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *text, size_t size, const char *format, va_list arguments);
int puts(const char *text);
int putchar(int c);

#endif
