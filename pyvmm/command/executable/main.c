/* The `pyvmm` command: a Python interpreter with pyvmm inside, which starts when something
 * needs it.
 *
 * A guest whose State is in a file, frozen or in the boot cache, is thawed and runs before
 * there is an interpreter.  One that only writes to its console and ends never has any;
 * Python starts when the guest does what C does not serve, wants input, or has to be told
 * of a signal, and at once for one with devices, whose first access waits for them.
 *
 * For all others what a guest waits for is mostly Python's own start, which is cut short:
 *
 *  - pyvmm's modules and its C parts are in this executable (see build.py): no
 *    directory is searched, no file read.
 *  - `pyvmm boot` begins in the interpreter's core phase (PEP 587, "Multi-Phase
 *    Initialization Private Provisional API").  Builtin and frozen modules are
 *    there, sys.path, sys.stdout and open() are not.  pyvmm/command/launch.py has the
 *    main phase run when something turns out to need it; most guests end before.
 *    A Python that is not known to have this API is initialized in one go.
 *  - A page fault for each page that the interpreter uses costs as much as what
 *    it does there: its small objects are in one huge page, and another thread asks
 *    for the rest at once.
 *
 * The interpreter is isolated: neither PYTHON* variables nor the user's
 * site-packages change what pyvmm does. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "entry.h"
#include "frozen.h"
#include "host.h"
#include "machine.h"
#include "pin.h"
#include "sandbox.h"

#define HUGE_PAGE (2ul << 20)

extern PyObject *PyInit__kvm(void);

static uint8_t arenas[2 * HUGE_PAGE];
static size_t arenas_used;

/* Python's small objects, from one huge page while it lasts, where the host has
 * any; what is given back stays unused. */
static void *arena_alloc(void *context, size_t size)
{
    uint8_t *first = (uint8_t *)(((uintptr_t)arenas + HUGE_PAGE - 1) & -HUGE_PAGE);
    void *fresh;

    (void)context;
    if (size <= HUGE_PAGE - arenas_used) {
        if (!arenas_used)
            madvise(first, HUGE_PAGE, MADV_HUGEPAGE);
        arenas_used += size;
        return first + arenas_used - size;
    }
    fresh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return fresh == MAP_FAILED ? NULL : fresh;
}

static void arena_free(void *context, void *arena, size_t size)
{
    (void)context;
    if ((uint8_t *)arena < arenas || (uint8_t *)arena >= arenas + sizeof arenas)
        munmap(arena, size);
}

/* Where what pyvmm depends on is installed: the site-packages of the prefix that
 * this executable is in. */
static char libraries[PATH_MAX + 64];

static const char *const interpreter_files[] = {libraries, FROZEN_FILES, NULL};

static void find_libraries(void)
{
    ssize_t length = readlink("/proc/self/exe", libraries, PATH_MAX);
    char *end = libraries + (length < 0 ? 0 : length);

    for (int i = 0; i < 2; i++) /* /bin/pyvmm */
        do
            *end = 0;
        while (end > libraries && *--end != '/');
    sprintf(end, "/lib/python%d.%d/site-packages", PY_MAJOR_VERSION, PY_MINOR_VERSION);
}

/* Gets this process its own copy of the executable's data, in steps between which
 * others get the address space's lock. */
static void *populate(void *unused)
{
    extern char __data_start[], edata[];
    const uintptr_t mask = -4096ul, step = 128 << 10;
    uintptr_t at, data_end = ((uintptr_t)edata + 4095) & mask;

    for (at = (uintptr_t)__data_start & mask; at < data_end; at += step)
        madvise((void *)at, at + step < data_end ? step : data_end - at, MADV_POPULATE_WRITE);
    return unused;
}

/* Closed standard descriptors become /dev/null: the next files opened would get
 * their numbers, and guest memory would be the guest's console.  So do directories,
 * with which Python does not start. */
static void open_closed_streams(void)
{
    struct stat status;
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
        ;
    for (int stream = 0; fd >= 0 && stream <= 2; stream++)
        if (fstat(stream, &status) == 0 && S_ISDIR(status.st_mode))
            dup2(fd, stream);
    close(fd);
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* All that is private to the versions of Python that pyvmm was tested with;
 * -DCORE_PHASE=0 does without. */
#ifndef CORE_PHASE
#define CORE_PHASE (PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030e0000)
#endif
#if CORE_PHASE
extern PyStatus _Py_InitializeMain(void);

static void stop_after_core(PyConfig *config)
{
    config->_init_main = 0;
}

static void main_phase(void)
{
    check(_Py_InitializeMain());
}
#else
static void stop_after_core(PyConfig *config)
{
    (void)config;
}

static void main_phase(void)
{
}
#endif

static bool core_only;

static PyObject *finish(PyObject *self, PyObject *arguments)
{
    (void)self, (void)arguments;
    if (core_only)
        main_phase();
    core_only = false;
    Py_RETURN_NONE;
}

/* An exception that nobody expected: a traceback wants sys.stderr. */
static void report(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    finish(NULL, NULL);
    PyErr_Restore(type, value, traceback);
    PyErr_Print();
}

static PyMethodDef finish_method = {
    "finish", finish, METH_NOARGS, "Runs the main phase of the interpreter's initialization."};

static void start_python(int argc, char **argv)
{
    PyPreConfig preconfig;
    PyConfig config;
    PyObjectArenaAllocator allocator = {NULL, arena_alloc, arena_free};

    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    check(Py_PreInitialize(&preconfig));
    PyObject_SetArenaAllocator(&allocator);
    PyImport_FrozenModules = frozen_modules;
    if (PyImport_AppendInittab("pyvmm._kvm", PyInit__kvm) < 0)
        abort();

    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 1;
    if (core_only)
        stop_after_core(&config);
    /* All that getpath.py would look for, so that it does not look. */
    check(PyConfig_SetString(&config, &config.home, FROZEN_PREFIX));
    config.module_search_paths_set = 1;
    check(PyWideStringList_Append(&config.module_search_paths, FROZEN_STDLIB));
    check(PyWideStringList_Append(&config.module_search_paths, FROZEN_STDLIB L"/lib-dynload"));
    check(PyConfig_SetString(&config, &config.stdlib_dir, FROZEN_STDLIB));
    wchar_t **places[] = {&config.prefix, &config.exec_prefix, &config.base_prefix, &config.base_exec_prefix};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        check(PyConfig_SetString(&config, places[i], FROZEN_PREFIX));
    check(PyConfig_SetString(&config, &config.executable, FROZEN_PYTHON));
    check(PyConfig_SetString(&config, &config.base_executable, FROZEN_PYTHON));
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    config.parse_argv = 0;
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static PyObject *argument_list(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);

    for (int i = 0; list && i < argc; i++)
        PyList_SetItem(list, i, PyUnicode_DecodeFSDefault(argv[i]));
    return list;
}

/* ---- a guest without Python --------------------------------------------- */

static struct words words;
static struct cache cache;
static struct state state;
static struct machine machine;
static struct entry entry = {.directory = -1, .socket = -1};

/* A guest that has run for so long is listed; most end before that would be worth it. */
#define LISTED_AFTER_MS 100

/* Opens a guest that is frozen in a file. */
static bool open_frozen(void)
{
    int fd = open(words.image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && !words.memory && !words.cpus && !words.append && !words.boot && !words.initrd &&
        state_open(&state, fd) && state.header->device_count == words.device_count &&
        !memcmp(state.header->devices, words.devices, words.device_count * sizeof *words.devices))
        return true;
    state_close(&state);
    if (fd >= 0)
        close(fd);
    return false;
}

/* Opens the State that a command line is about: in the cache, or of a frozen guest, which
 * is never in there. */
static bool find_state(void)
{
    return (cache_locate(&cache, &words) && cache_open(&cache, &state)) || open_frozen();
}

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
    return !words.by_python && !words.pin && machine.cpus == 1 && !machine.serial.wants_input;
}

/* Makes the machine, and starts the threads of its vCPUs unless it runs here.  Signals are
 * blocked before a guest in other threads can do anything, which one with devices cannot
 * until Python is there.  On any failure there is none, and Python says why. */
static bool start_guest(void)
{
    int pins[STATE_CPUS];
    uint32_t detail;

    if (!find_state())
        return false;
    if ((!words.pin || pin_read(words.pin, state.header->cpus, pins, &detail) == PIN_READ) &&
        machine_thaw(&machine, &state, STDOUT_FILENO, words.shared, words.by_python)) {
        if (runs_here())
            return true;
        if (!words.by_python)
            signals_fd = signal_fd(signals, SIGNALS);
        if (machine_start(&machine, words.pin ? pins : NULL))
            return true;
        signal_fd_close(signals_fd, signals, SIGNALS);
        machine_discard(&machine);
    }
    close(state.fd);
    state_close(&state);
    return false;
}

/* The status that a vCPU has ended the guest with; -1 if it needs something else, or
 * output was lost, which Python tells of. */
static int status_of(const struct vcpu *vcpu)
{
    if (vcpu->reason == KVM_EXIT_IO && vcpu->write && vcpu->address == DEBUG_EXIT_PORT &&
        !machine.serial.out_error)
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
    vcpu_stop(machine.vcpus);
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

    if (machine.serial.wants_input || machine.serial.out_error)
        vcpu_stop(vcpu);
    return served;
}

/* Runs the guest until it ends, and returns its status; or until it needs Python, or has run
 * for a while: -1.  A thread then goes on with its vCPU, and the signal that was caught is
 * pending again. */
static int run_guest(void)
{
    struct vcpu *vcpu = machine.vcpus;
    int status;

    bus_set_handler(&machine.bus, SERIAL_PORT, console_access);
    handle_signals(leave);
    set_alarm();
    vcpu_run(vcpu);
    status = status_of(vcpu);
    machine.exit_ns = status >= 0 ? clock_ns(CLOCK_MONOTONIC) : 0;
    if (status >= 0 && !words.timed)
        return status;
    end_alarm();
    signals_fd = signal_fd(signals, SIGNALS);
    handle_signals(SIG_DFL);
    if (caught)
        raise(caught);
    bus_set_handler(&machine.bus, SERIAL_PORT, serial_access);
    vcpu_hand_over(vcpu);
    if (!machine_start(&machine, NULL)) {
        dprintf(STDERR_FILENO, "pyvmm: thread of vCPU 0: %s\n", strerror(machine.error));
        _exit(125);
    }
    return status;
}

/* Whether the guest goes on in a thread for no other reason than that it has run for a while. */
static bool only_alarmed(void)
{
    return alarmed && !caught && machine.vcpus->reason == VCPU_STOPPED && !machine.serial.wants_input &&
           !machine.serial.out_error;
}

/* ---- in threads of its vCPUs */

static int guest_status(void)
{
    for (uint32_t i = 0; i < machine.cpus; i++)
        if (vcpu_has_exited(&machine.vcpus[i]))
            return status_of(&machine.vcpus[i]);
    return -1;
}

/* Waits until the guest ends, and returns its status; or until it needs Python: -1. */
static int wait_for_guest(void)
{
    int status = -1;
    struct pollfd pollers[] = {
        {.fd = machine.event_fd, .events = POLLIN},
        {.fd = machine.input_fd, .events = POLLIN},
        {.fd = signals_fd, .events = POLLIN},
        {.fd = -1, .events = POLLIN}, /* who wants to talk to it */
    };
    int timeout = LISTED_AFTER_MS, ready;

    while ((ready = poll(pollers, sizeof pollers / sizeof *pollers, timeout)) <= 0)
        if (ready == 0) {
            entry_make(&entry, words.image, &machine);
            pollers[3].fd = entry.socket;
            timeout = -1;
        }
    if (pollers[0].revents)
        status = guest_status();
    machine.exit_ns = status >= 0 ? clock_ns(CLOCK_MONOTONIC) : 0;
    return status;
}

/* ---- main --------------------------------------------------------------- */

/* Runs `pyvmm boot`, as far as that can be without Python. */
static void boot(char **rest)
{
    bool started = words_read(&words, rest) && start_guest();
    pthread_t thread;
    int status;

    if (started && !words.by_python) {
        bool here = runs_here();

        status = here ? run_guest() : -1;
        if (!here || only_alarmed())
            status = wait_for_guest();
        if (status >= 0 && !words.timed) {
            entry_remove(&entry);
            _exit(status);
        }
        close(signals_fd);
    }
    if (words.timed)
        process_start_ns();
    thread_start(&thread, "populate", -1, populate, NULL);
}

int main(int argc, char **argv)
{
    struct timespec now;
    long long started;
    bool booting = argc > 1 && !strcmp(argv[1], "boot");
    PyObject *launch, *list, *known, *result;

    open_closed_streams();
    signal(SIGPIPE, SIG_IGN); /* as Python does, but in its main phase */
    signal(SIGXFSZ, SIG_IGN); /* guest memory is a file, too */
    if (booting)
        boot(argv + 2);
    find_libraries();
    sandbox_of_process()->files = interpreter_files;
    core_only = CORE_PHASE && (booting || (argc > 1 && !strcmp(argv[1], "oci")));
    start_python(argc, argv);
    clock_gettime(CLOCK_MONOTONIC, &now);
    PyGC_Disable(); /* until the guest runs */
    started = now.tv_sec * 1000000000ll + now.tv_nsec;

    list = argument_list(argc, argv);
    known = PyMarshal_ReadObjectFromString((const char *)frozen, sizeof frozen);
    launch = PyImport_ImportFrozenModule("pyvmm.command.launch") > 0 ? PyImport_AddModule("pyvmm.command.launch") : NULL;
    result = launch && list && known
                 ? PyObject_CallMethod(launch, "main", "OOOsLK(ssy#)(sii)", list, known,
                                       core_only ? PyCFunction_New(&finish_method, NULL) : Py_None,
                                       libraries, started, (unsigned long long)(machine.vcpus ? (uintptr_t)&machine : 0),
                                       cache.directory, cache.name, cache.key, (Py_ssize_t)cache.key_size,
                                       entry.name, entry.directory, entry.socket)
                 : NULL;
    (void)result; /* main() ends the process, or fails */
    report();
    return 125;
}
