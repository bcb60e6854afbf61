/* The `pyvmm` command: a Python interpreter with pyvmm inside, which starts when something
 * needs it.
 *
 * A guest whose State is in a file, frozen or in the boot cache, is thawed and runs before
 * there is an interpreter (guest.c).
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
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "frozen.h"
#include "guest.h"
#include "host.h"
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

const char *const *interpreter_files(void)
{
    static const char *const files[] = {libraries, FROZEN_FILES, NULL};

    if (!libraries[0])
        find_libraries();
    return files;
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

int main(int argc, char **argv)
{
    struct timespec now;
    long long started;
    bool booting = argc > 1 && !strcmp(argv[1], "boot");
    PyObject *launch, *list, *known, *result;
    pthread_t thread;

    open_closed_streams();
    signal(SIGPIPE, SIG_IGN); /* as Python does, but in its main phase */
    signal(SIGXFSZ, SIG_IGN); /* guest memory is a file, too */
    if (booting) {
        guest_boot(argv + 2);
        if (thread_start(&thread, "populate", NULL, populate, NULL) == 0)
            sandbox_wait_for(thread);
    }
    sandbox_of_process()->files = interpreter_files();
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
                                       libraries, started, (unsigned long long)(guest.machine.vcpus ? (uintptr_t)&guest.machine : 0),
                                       guest.cache.directory, guest.cache.name, guest.cache.key, (Py_ssize_t)guest.cache.key_size,
                                       guest.entry.name, guest.entry.directory, guest.entry.socket)
                 : NULL;
    (void)result; /* main() ends the process, or fails */
    report();
    return 125;
}
