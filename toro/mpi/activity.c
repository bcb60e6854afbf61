/* Operations that were begun, and go on while their rank is in other calls of MPI. Each has a stack
 * of its own, on which it runs as if it were a call that waits; where that would wait, it returns to
 * the call from which it was resumed. mpi_progress resumes all. */
#include "internal.h"

#define STACK_SIZE (128 << 10)
#define GUARD 0x7f4a7c159e3779b9 /* at the end of a stack: is overwritten by what needs more */

struct activity {
    struct activity *next;
    struct collective what;
    void *stack; /* its pointer, while another one runs */
    bool over;
    uint64_t guard;
    char space[] __attribute__((aligned(16)));
};

int mpi_activities;
bool mpi_activity_polls;

static struct activity *first, **last = &first, *unused;
static struct activity *running;
static void *resumed_from; /* the stack pointer of the call */

/* Saves the stack pointer, and what a function preserves, and goes on with another stack. */
void mpi_switch_stack(void **save, void *stack);
__asm__(".section .text.mpi_switch_stack, \"ax\", @progbits\n"
        "mpi_switch_stack:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        ".text\n");

bool mpi_pause_activity(bool polls)
{
    if (!running)
        return false;
    mpi_activity_polls |= polls;
    mpi_switch_stack(&running->stack, resumed_from);
    return true;
}

static void run(void)
{
    struct collective *what = &running->what;
    struct mpi_request *request = what->request;
    request->error = what->run(what);
    mpi_release_comm(what->comm);
    request->complete = true;
    running->over = true;
    mpi_pause_activity(false);
}

/* False: it is over. */
static bool resume(struct activity *activity)
{
    running = activity;
    mpi_switch_stack(&resumed_from, activity->stack);
    running = NULL;
    if (activity->guard != GUARD)
        mpi_die(activity->what.call, "the operation needs too much of the stack");
    if (!activity->over)
        return true;
    activity->next = unused;
    unused = activity;
    mpi_activities--;
    return false;
}

void mpi_resume_activities(void)
{
    if (running)
        return;
    mpi_activity_polls = false;
    for (struct activity **at = &first; *at;) {
        struct activity *activity = *at, *next = activity->next;
        if (resume(activity))
            at = &activity->next;
        else
            *at = next;
        if (!*at)
            last = at;
    }
}

void mpi_start_activity(const struct collective *what)
{
    struct activity *activity = unused;
    if (activity)
        unused = activity->next;
    else
        activity = mpi_memory(sizeof *activity + STACK_SIZE);
    void **top = (void **)(activity->space + STACK_SIZE) - 8; /* what mpi_switch_stack takes from there */
    memset(top, 0, 8 * sizeof *top);
    top[6] = run;
    activity->stack = top;
    activity->over = false;
    activity->guard = GUARD;
    activity->what = *what;
    activity->next = NULL;
    what->comm->references++;
    mpi_activities++;
    if (!resume(activity))
        return;
    *last = activity;
    last = &activity->next;
}
