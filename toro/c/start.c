/* Starts a rank as Linux starts a process: musl's start-up code finds on the stack the arguments,
 * the environment and the auxiliary vector (System V ABI for x86-64, section 3.4.1), and from
 * there sets up thread-local variables and runs constructors, main, destructors and exit. */
#include "toro.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define AUXILIARY_WORDS 16

/* The program's main, renamed by `pyvmm build`, or the mainC of programs for earlier versions of
 * Toro. */
int toro_c_main(int argc, char **argv, char **environment) __attribute__((weak));
void mainC(void) __attribute__((weak));

/* musl's. */
int __libc_start_main(int (*run)(int, char **, char **), int argc, char **argv);

extern char toro_tdata[], toro_tdata_end[], toro_tls_size[], toro_tls_align[]; /* ranks.ld */

static int run_main(int argc, char **argv, char **environment)
{
    if (toro_c_main)
        return toro_c_main(argc, argv, environment);
    mainC();
    return 0;
}

static size_t count(char **words)
{
    size_t n = 0;
    while (words[n])
        n++;
    return n;
}

/* Each rank may change its words. */
static char *copy(const char *word)
{
    size_t size = strlen(word) + 1;
    char *made = toro_memory(size);
    return made ? memcpy(made, word, size) : "";
}

void toro_run_c(int argc, char **argv, char **environment)
{
    static Elf64_Phdr tls = {.p_type = PT_TLS};
    static uint64_t random[2];
    size_t variables = count(environment);
    char **stack = toro_memory((argc + variables + 2 + AUXILIARY_WORDS) * sizeof *stack), **at = stack;

    tls.p_vaddr = (uintptr_t)toro_tdata;
    tls.p_filesz = toro_tdata_end - toro_tdata;
    tls.p_memsz = (uintptr_t)toro_tls_size;
    tls.p_align = (uintptr_t)toro_tls_align;
    random[0] = toro_unix_ns();
    random[1] = toro_monotonic_ns();
    size_t auxiliary[AUXILIARY_WORDS] = {
        AT_PHDR, (uintptr_t)&tls, AT_PHENT, sizeof tls, AT_PHNUM, 1, AT_PAGESZ, 4096, AT_RANDOM, (uintptr_t)random,
        AT_NULL,
    };
    for (int i = 0; i < argc; i++)
        *at++ = copy(argv[i]);
    *at++ = NULL;
    for (size_t i = 0; i < variables; i++)
        *at++ = copy(environment[i]);
    *at++ = NULL;
    memcpy(at, auxiliary, sizeof auxiliary);
    __libc_start_main(run_main, argc, stack);
}
