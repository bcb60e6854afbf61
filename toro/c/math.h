/* Functions for which x86-64 has an instruction. */
#ifndef MATH_H
#define MATH_H

#define M_PI 3.14159265358979323846

static inline double sqrt(double x) { return __builtin_ia32_sqrtsd((__attribute__((vector_size(16))) double){x, 0})[0]; }
static inline double fabs(double x) { return __builtin_fabs(x); }

#endif
