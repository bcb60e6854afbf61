/* What the kernel does for C: toro/mpi/Ranks.pas. */
#ifndef TORO_H
#define TORO_H

#include <stddef.h>
#include <stdint.h>

/* Memory of all cores: any of them may release it. Null: there is none. */
void *toro_memory(size_t size);
void *toro_aligned_memory(size_t size, size_t alignment);
void *toro_resize(void *memory, size_t size);
void toro_release(void *memory);
size_t toro_memory_size(void *memory);

int toro_core_index(void);
int toro_core_count(void);

/* Times in ns; ticks of the TSC in some microseconds. */
uint64_t toro_monotonic_ns(void);
uint64_t toro_unix_ns(void);
uint64_t toro_ticks(uint32_t microseconds);
/* How long the host has run something else while this core had work; 0 where it does not tell. */
uint64_t toro_stolen_ns(void);

/* Threads of this core. `toro_block` returns when another thread, of any core, has woken this
 * one, or earlier. */
uint64_t toro_thread(void);
void toro_yield(void);
void toro_sleep(uint32_t microseconds);
void toro_block(void);
void toro_wake(uint64_t thread);

/* A system call of Linux, with addresses that all cores understand; a negative error, as there. */
long toro_kernel_call(long number, long a, long b, long c);
void toro_write(const char *text, size_t size);

/* The end of this rank, or of the machine, with an exit status. */
void toro_end_rank(int status) __attribute__((noreturn));
void toro_end_all(int status) __attribute__((noreturn));

/* ---- Variables of each core ---- */

/* Makes a variable one of all cores, initially zero. */
#define SHARED __attribute__((section(".bss.toro.shared")))

extern char toro_rank[], toro_rank_end[]; /* from the linker script */

/* How far this core's variables are from where it sees them. */
extern intptr_t toro_rank_offset;

/* The address at which all cores see what this one sees at `address`. */
static inline void *toro_shared_address(const void *address)
{
    uintptr_t at = (uintptr_t)address;
    if (at - (uintptr_t)toro_rank < (uintptr_t)(toro_rank_end - toro_rank))
        at += toro_rank_offset;
    return (void *)at;
}

#endif
