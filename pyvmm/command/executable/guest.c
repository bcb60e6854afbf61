/* A guest of `pyvmm boot` without Python.
 *
 * One whose State is in a file is thawed and runs before there is an interpreter.  If it only
 * writes to its console and ends there never is any; Python starts when the guest does what C
 * does not serve, wants input, or has to be told of a signal, when somebody connects to its
 * control socket, and at once for one with devices, whose first access waits for them. */
#include "guest.h"
#include "host.h"
#include "landlock.h"
#include "pin.h"
#include "sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

struct guest guest = {.entry = {.directory = -1, .socket = -1}};

/* A guest that has run for so long is listed; most end before that would be worth it. */
#define LISTED_AFTER_MS 100

/* Opens a guest that is frozen in a file. */
static bool open_frozen(void)
{
    const struct words *words = &guest.words;
    struct state *state = &guest.state;
    int fd = open(words->image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && !words->memory && !words->cpus && !words->append && !words->boot && !words->initrd &&
        state_open(state, fd) && state->header->device_count == words->device_count &&
        !memcmp(state->header->devices, words->devices, words->device_count * sizeof *words->devices))
        return true;
    state_close(state);
    if (fd >= 0)
        close(fd);
    return false;
}

/* Opens the State that a command line is about: in the cache, or of a frozen guest, which
 * is never in there. */
static bool find_state(void)
{
    return (cache_locate(&guest.cache, &guest.words) && cache_open(&guest.cache, &guest.state)) || open_frozen();
}

/* ---- confining it */

/* Begins what confines this process.  Returns false if Python is to say what is wrong. */
static bool begin_sandbox(void)
{
    static const char *const modes[] = {"off", "on", "require"}; /* enum sandbox_mode */
    const struct words *words = &guest.words;
    size_t mode = words->sandbox ? 0 : SANDBOX_DEFAULT;

    while (words->sandbox && strcmp(words->sandbox, modes[mode]))
        if (++mode == sizeof modes / sizeof *modes)
            return false;
    if (mode != SANDBOX_OFF)
        sandbox_of_process()->files = interpreter_files();
    return sandbox_begin((enum sandbox_mode)mode, words->user);
}

/* Opens what a guest without Python may need once it is confined.  Returns false if that
 * cannot be. */
static bool open_for_later(void)
{
    struct sandbox *sandbox = sandbox_of_process();

    if (!sandbox->mode || guest.words.by_python)
        return true;
    if (guest.words.report) {
        sandbox->report_fd = open(guest.words.report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (sandbox->report_fd < 0)
            return false;
    }
    sandbox->image_fd = open(guest.words.image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (landlock_abi())
        sandbox->registry_fd = registry_open(true);
    if (sandbox->registry_fd >= 0)
        sandbox->features |= SANDBOX_REGISTRY;
    sandbox->writes = sandbox->registry_fd >= 0 || guest.words.report;
    return true;
}

/* ---- making it */

/* Those that end a guest (pyvmm/command/signals.py). */
static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
static int signals_fd = -1;
static volatile sig_atomic_t caught, alarmed;

#define SIGNALS (sizeof signals / sizeof *signals)

/* Whether the guest runs in this thread: one with a single vCPU and without devices does,
 * as long as it does not need Python.  Another thread would have to be woken first, on
 * another CPU as a rule, which takes longer than what such a guest does. */
static bool runs_here(void)
{
    return !guest.words.by_python && !guest.words.pin && guest.machine.cpus == 1 &&
           !guest.machine.serial.wants_input;
}

/* Makes the machine, and starts the threads of its vCPUs unless it runs here.  Signals are
 * blocked before a guest in other threads can do anything, which one with devices cannot
 * until Python is there.  On any failure there is none, and Python says why. */
static bool start_guest(void)
{
    const struct words *words = &guest.words;
    struct machine *machine = &guest.machine;
    int pins[STATE_CPUS];
    uint32_t detail;

    if (!find_state())
        return false;
    if ((!words->pin || pin_read(words->pin, guest.state.header->cpus, pins, &detail) == PIN_READ) &&
        open_for_later() &&
        machine_thaw(machine, &guest.state, STDOUT_FILENO, words->shared, words->by_python)) {
        sandbox_of_process()->vm_fd = machine->vm_fd;
        if (machine->flags & STATE_PC)
            sandbox_of_process()->features |= SANDBOX_PC;
        if (runs_here())
            return true;
        if (!words->by_python)
            signals_fd = signal_fd(signals, SIGNALS);
        if (machine_start(machine, words->pin ? pins : NULL))
            return true;
        signal_fd_close(signals_fd, signals, SIGNALS);
        machine_discard(machine);
    }
    close(guest.state.fd);
    state_close(&guest.state);
    return false;
}

/* The status that a vCPU has ended the guest with; -1 if it needs something else, or
 * output was lost, which Python tells of. */
static int status_of(const struct vcpu *vcpu)
{
    if (vcpu->reason == KVM_EXIT_IO && vcpu->write && vcpu->address == DEBUG_EXIT_PORT &&
        !guest.machine.serial.out_error)
        return vcpu->data[0];
    return -1;
}

/* ---- in this thread */

static void leave(int signal)
{
    if (signal == SIGALRM)
        alarmed = 1;
    else
        caught = signal;
    vcpu_stop(guest.machine.vcpus);
}

/* Has SIGALRM end vcpu_run() when the guest has run for a while. */
static void set_alarm(void)
{
    const struct itimerval timer = {.it_value.tv_usec = LISTED_AFTER_MS * 1000};
    const struct sigaction action = {.sa_handler = leave};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void end_alarm(void)
{
    const struct itimerval none = {0};

    setitimer(ITIMER_REAL, &none, NULL);
    signal(SIGALRM, SIG_DFL);
}

/* Has these signals end vcpu_run() (leave), or takes that back, where they are not ignored. */
static void handle_signals(void (*handler)(int))
{
    for (size_t i = 0; i < SIGNALS; i++) {
        struct sigaction action;

        if (sigaction(signals[i], NULL, &action) < 0 || action.sa_handler == SIG_IGN)
            continue;
        action = (struct sigaction){.sa_handler = handler};
        sigaction(signals[i], &action, NULL);
    }
}

/* The console, until Python has to read its input or to tell that output is lost. */
static bool console_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset, uint8_t *data,
                           uint32_t size, uint32_t count)
{
    bool served = serial_access(device, vcpu, write, offset, data, size, count);

    if (guest.machine.serial.wants_input || guest.machine.serial.out_error)
        vcpu_stop(vcpu);
    return served;
}

/* Runs the guest until it ends, and returns its status; or until it needs Python, or has run
 * for a while: -1.  A thread then goes on with its vCPU, and the signal that was caught is
 * pending again. */
static int run_guest(void)
{
    struct vcpu *vcpu = guest.machine.vcpus;
    int status;

    bus_set_handler(&guest.machine.bus, SERIAL_PORT, console_access);
    handle_signals(leave);
    set_alarm();
    sandbox_thread(SANDBOX_START, -1);
    vcpu_run(vcpu);
    status = status_of(vcpu);
    guest.machine.exit_ns = status >= 0 ? clock_ns(CLOCK_MONOTONIC) : 0;
    if (status >= 0 && !guest.words.timed)
        return status;
    end_alarm();
    signals_fd = signal_fd(signals, SIGNALS);
    handle_signals(SIG_DFL);
    if (caught)
        raise(caught);
    bus_set_handler(&guest.machine.bus, SERIAL_PORT, serial_access);
    vcpu_hand_over(vcpu);
    if (!machine_start(&guest.machine, NULL)) {
        dprintf(STDERR_FILENO, "pyvmm: thread of vCPU 0: %s\n", strerror(guest.machine.error));
        _exit(125);
    }
    return status;
}

/* Whether the guest goes on in a thread for no other reason than that it has run for a while. */
static bool only_alarmed(void)
{
    return alarmed && !caught && guest.machine.vcpus->reason == VCPU_STOPPED &&
           !guest.machine.serial.wants_input && !guest.machine.serial.out_error;
}

/* ---- in threads of its vCPUs */

static int guest_status(void)
{
    for (uint32_t i = 0; i < guest.machine.cpus; i++)
        if (vcpu_has_exited(&guest.machine.vcpus[i]))
            return status_of(&guest.machine.vcpus[i]);
    return -1;
}

/* Waits until the guest ends, and returns its status; or until it needs Python: -1. */
static int wait_for_guest(void)
{
    int status = -1;
    struct pollfd pollers[] = {
        {.fd = guest.machine.event_fd, .events = POLLIN},
        {.fd = guest.machine.input_fd, .events = POLLIN},
        {.fd = signals_fd, .events = POLLIN},
        {.fd = -1, .events = POLLIN}, /* who wants to talk to it */
    };
    int timeout = alarmed ? 0 : LISTED_AFTER_MS, ready;

    while ((ready = poll(pollers, sizeof pollers / sizeof *pollers, timeout)) <= 0)
        if (ready == 0) {
            struct sandbox *sandbox = sandbox_of_process();

            if (!sandbox->mode)
                sandbox->registry_fd = registry_open(true);
            entry_make(&guest.entry, sandbox->registry_fd, guest.words.image, &guest.machine);
            sandbox->registry_fd = -1;
            pollers[3].fd = guest.entry.socket;
            timeout = -1;
        }
    if (pollers[0].revents)
        status = guest_status();
    guest.machine.exit_ns = status >= 0 ? clock_ns(CLOCK_MONOTONIC) : 0;
    return status;
}

/* ---- both */

/* Runs `pyvmm boot`, as far as that can be without Python: it ends the process then.
 * Otherwise `guest` is what Python has to go on with. */
void guest_boot(char **rest)
{
    bool readable = words_read(&guest.words, rest), started;
    int status;

    if (guest.words.timed)
        process_start_ns(); /* before this thread waits for the guest */
    started = readable && begin_sandbox() && start_guest();
    if (started && !guest.words.by_python) {
        bool here = runs_here();

        if (!here)
            sandbox_thread(SANDBOX_START, -1);
        status = here ? run_guest() : -1;
        if (!here || only_alarmed())
            status = wait_for_guest();
        if (status >= 0 && !guest.words.timed) {
            entry_remove(&guest.entry);
            _exit(status);
        }
        close(signals_fd);
    }
}
