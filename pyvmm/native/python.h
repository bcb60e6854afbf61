/* Marks what Python may use of the C parts. */
#ifndef PYVMM_PYTHON_H
#define PYVMM_PYTHON_H

/* Precedes a function, enum, structure or typedef that build.py declares to cffi. */
#define PYTHON

#endif
