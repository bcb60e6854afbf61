/* The functions of libm that the interpreter uses, taken from libm when one is first called.
 *
 * The loader takes 0.15 ms for libm, a fourteenth of what passes until a cached guest runs,
 * and neither that guest nor most boots ever call one of these. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *find(const char *name)
{
    static void *libm;
    void *function;

    if (!libm)
        libm = dlopen("libm.so.6", RTLD_NOW);
    function = libm ? dlsym(libm, name) : NULL;
    if (!function) {
        fprintf(stderr, "pyvmm: libm.so.6: %s\n", dlerror());
        _Exit(125);
    }
    return function;
}

#define FORWARD_1(name)                   \
    double name(double x)                 \
    {                                     \
        static double (*real)(double);    \
                                          \
        if (!real)                        \
            real = find(#name);           \
        return real(x);                   \
    }

#define FORWARD_2(name)                        \
    double name(double x, double y)            \
    {                                          \
        static double (*real)(double, double); \
                                               \
        if (!real)                             \
            real = find(#name);                \
        return real(x, y);                     \
    }

FORWARD_1(exp)
FORWARD_1(round)
FORWARD_2(atan2)
FORWARD_2(fmod)
FORWARD_2(hypot)
FORWARD_2(pow)

/* int() wants those of its base and of its digits' (PyLong_FromString), in every boot. */
double log(double x)
{
    static double (*real)(double);

    if (x == 10)
        return __builtin_log(10);
    if (x == PyLong_BASE)
        return __builtin_log(PyLong_BASE);
    if (!real)
        real = find("log");
    return real(x);
}

void sincos(double x, double *sine, double *cosine)
{
    static void (*real)(double, double *, double *);

    if (!real)
        real = find("sincos");
    real(x, sine, cosine);
}
