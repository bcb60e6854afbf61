"""What a pyvmm that was taken over can still ask of the host: next to nothing.

`policy` is the table of system calls of each thread, `bpf` compiles it when pyvmm is built,
`native/sandbox.c` applies the result to a thread, and `confine` says when. docs/security.md
describes the walls.
"""
