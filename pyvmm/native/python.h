/* What Python may use of the C parts. */
#ifndef PYVMM_PYTHON_H
#define PYVMM_PYTHON_H

/* Marks a function, enum or structure that build.py declares to cffi as it stands. */
#define PYTHON

#endif
