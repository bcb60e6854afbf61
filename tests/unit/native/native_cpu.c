/* Executes single instructions on this machine's CPU, for tests/unit/native/test_emulate.py:
 * reads struct request from stdin and answers each with struct answer.
 *
 * A signal handler replaces the context to which it returns by the requested registers
 * and the trap flag.  After one instruction, or its fault, another handler reads the
 * resulting registers. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define TRAP_FLAG 0x100
#define FXSAVE 416 /* bytes of FXSAVE's area that hold registers */

struct state {
    uint64_t general[16]; /* by their numbers in instructions */
    uint64_t rip, flags;
    uint8_t fx[FXSAVE];
};

struct request {
    uint64_t code, data, gs; /* addresses of a page, of two pages, the segment's base */
    struct state state;
    uint8_t bytes[16], memory[2 * PAGE]; /* what to put at state.rip, and at `data` */
};

struct answer {
    uint64_t vector, error, address;
    struct state state;
    uint8_t memory[2 * PAGE];
};

static const int number[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
static struct request request;
static struct answer answer;
static gregset_t saved;
static uint8_t saved_fx[FXSAVE];

static void enter(int signal, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;

    (void)signal;
    (void)info;
    memcpy(saved, machine->gregs, sizeof saved);
    memcpy(saved_fx, machine->fpregs, sizeof saved_fx);
    for (int i = 0; i < 16; i++)
        machine->gregs[number[i]] = (greg_t)request.state.general[i];
    machine->gregs[REG_RIP] = (greg_t)request.state.rip;
    machine->gregs[REG_EFL] = (greg_t)(request.state.flags | TRAP_FLAG);
    memcpy(machine->fpregs, request.state.fx, FXSAVE);
    *(uint64_t *)((uint8_t *)machine->fpregs + 512) |= 3; /* XSTATE_BV: x87 and SSE */
}

static void leave(int signal, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;

    (void)signal;
    (void)info;
    for (int i = 0; i < 16; i++)
        answer.state.general[i] = (uint64_t)machine->gregs[number[i]];
    answer.state.rip = (uint64_t)machine->gregs[REG_RIP];
    answer.state.flags = (uint64_t)machine->gregs[REG_EFL];
    memcpy(answer.state.fx, machine->fpregs, FXSAVE);
    answer.vector = (uint64_t)machine->gregs[REG_TRAPNO];
    answer.error = (uint64_t)machine->gregs[REG_ERR];
    answer.address = (uint64_t)machine->gregs[REG_CR2];
    memcpy(machine->gregs, saved, sizeof saved);
    memcpy(machine->fpregs, saved_fx, sizeof saved_fx);
}

static void transfer(int fd, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t part = fd ? write(fd, (uint8_t *)data + done, size - done)
                          : read(fd, (uint8_t *)data + done, size - done);
        if (part <= 0)
            exit(done != 0);
        done += (size_t)part;
    }
}

static uint8_t *map(uint64_t address, size_t size, int protection)
{
    void *at = mmap((void *)address, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                    -1, 0);
    if (at != (void *)address)
        exit(2);
    return at;
}

int main(void)
{
    static const int faults[] = {SIGTRAP, SIGSEGV, SIGFPE, SIGILL, SIGBUS};
    static uint8_t stack[64 << 10];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = enter, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    uint8_t *code = NULL, *data = NULL;

    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_sigaction = leave;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigaction(faults[i], &action, NULL);
    for (;;) {
        transfer(0, &request, sizeof request);
        if (!code) {
            code = map(request.code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
            data = map(request.data, sizeof request.memory, PROT_READ | PROT_WRITE);
        }
        memcpy((void *)request.state.rip, request.bytes, sizeof request.bytes);
        memcpy(data, request.memory, sizeof request.memory);
        syscall(SYS_arch_prctl, ARCH_SET_GS, request.gs);
        raise(SIGUSR1);
        memcpy(answer.memory, data, sizeof answer.memory);
        transfer(1, &answer, sizeof answer);
    }
}
