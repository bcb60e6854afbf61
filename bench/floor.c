/* The floor: what a machine costs without a command around it.
 *
 *     floor STATE [MARKS.json]
 *
 * A static program of pyvmm's own C parts that thaws a State and runs its one vCPU in
 * its only thread.  As a floor it may cut corners: it knows its one argument, takes no
 * input, and leaves cleaning up to exit(2).
 *
 * MARKS.json gets CLOCK_MONOTONIC in ns of the first KVM_RUN. */
#include "machine.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define STATUS_FAILED 125

int main(int argc, char **argv)
{
    static struct state state;
    static struct machine machine;
    int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1, reason;
    FILE *marks;

    if (!state_open(&state, fd))
        errx(STATUS_FAILED, "%s", state.error);
    if (!machine_thaw(&machine, &state, STDOUT_FILENO, false, false))
        errx(STATUS_FAILED, "%s", machine.failed);
    reason = vcpu_run(machine.vcpus);
    if (reason != KVM_EXIT_IO)
        errx(STATUS_FAILED, "KVM exit %d", reason);
    if (argc > 2 && (marks = fopen(argv[2], "w"))) {
        fprintf(marks, "{\"first KVM_RUN\": %llu}\n", (unsigned long long)machine.vcpus->first_run_ns);
        fclose(marks);
    }
    _exit(machine.vcpus->data[0]);
}
