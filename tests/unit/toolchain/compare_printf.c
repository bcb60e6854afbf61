/* Compares toro/c/printf.c with the host's, for a number of formats and values. Prints
 * what differs; the exit status is 1 if anything does. */
#define printf toro_printf
#define vprintf toro_vprintf
#define snprintf toro_snprintf
#define vsnprintf toro_vsnprintf
#define puts toro_puts
#define putchar toro_putchar
#include "printf.c"
#undef snprintf
#undef printf

int snprintf(char *text, size_t size, const char *format, ...);
int printf(const char *format, ...);

void toro_write(const char *text, size_t size)
{
    printf("%.*s", (int)size, text);
}

static int differences;

#define COMPARE(...)                                                                                                   \
    do {                                                                                                               \
        char host[600], ours[600];                                                                                     \
        int size = snprintf(host, sizeof host, __VA_ARGS__);                                                           \
        if (toro_snprintf(ours, sizeof ours, __VA_ARGS__) != size || strcmp(host, ours)) {                             \
            printf("%s: host `%s', ours `%s'\n", #__VA_ARGS__, host, ours);                                            \
            differences++;                                                                                             \
        }                                                                                                              \
    } while (0)

static void compare_doubles(double x)
{
    COMPARE("%f", x);
    COMPARE("%.0f", x);
    COMPARE("%.1f|%+f|% f", x, x, x);
    COMPARE("%10.3f|%-12.2f|%012.2f|", x, x, x);
    COMPARE("%e|%.0e|%.12e", x, x, x);
    COMPARE("%g|%.3g|%.10g|% g", x, x, x, x);
    COMPARE("%#.0f|%#.3g", x, x);
}

static void compare_integers(long x)
{
    COMPARE("%ld|%lu|%lx|%#lx|%#lX|%lo", x, x, x, x, x, x);
    COMPARE("%20ld|%-20ld|%020ld|%.5ld|%20.5ld|%+ld|% ld", x, x, x, x, x, x, x);
    COMPARE("%d|%u|%x|%hd|%hhu|%hhd", (int)x, (int)x, (int)x, (int)x, (int)x, (int)x);
    COMPARE("%zu|%lld|%*d|%-*d|", (size_t)x, (long long)x, 7, (int)x, 7, (int)x);
}

int main(void)
{
    const double doubles[] = {0,    1,      -1,       0.5,     1.5,   2.5,      9.9999999, 1.234e-5, 123456789.123,
                              1e20, 1e-20,  99.5,     1e15,    0.1,   999999.5, 100,       1e-4,     1e-5,
                              0.95, 123456, 3.141592, 1000000, -9.5,  0.04,     0.05,      1.0 / 3,  -2.0 / 3};
    const long integers[] = {0,  1,   -1,    42,   2147483647, -2147483648L, 9223372036854775807L, INT64_MIN,
                             255, 65535, -300, 100};
    char text[5];

    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        compare_doubles(doubles[i]);
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        compare_doubles((double)(int64_t)random / 1e9);
    }
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        compare_integers(integers[i]);
    COMPARE("%f %e %g %5f| %05f", 1e999, -1e999, 1e999 - 1e999, 1e999, 1e999);
    COMPARE("%s|%10s|%-10s|%.2s|%.0s|%c%5c|%p|%%", "abc", "abc", "abc", "abc", "abc", 'x', 'y', (void *)0x1234);
    if (toro_snprintf(text, sizeof text, "abcdefgh") != 8 || strcmp(text, "abcd") ||
        toro_snprintf(NULL, 0, "%d", 12345) != 5)
        differences++;
    return differences != 0;
}
