/* `pyvmm-oci`: an OCI runtime for Toro guests, which is a real runtime behind a small step.
 *
 * Engines call a runtime several times for each container: for each call that does not
 * make one, this program becomes the real runtime at once.  Before `create` and `run`, the
 * `pyvmm` beside it rewrites the bundle, if its container is a guest (`pyvmm oci`).
 *
 * The command line is runc's, which crun and youki share.  Of it, only the command, the
 * bundle and the log file are looked at. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUNTIME "runc"
#define NAME "pyvmm-oci-"
#define KVM_FD 3      /* the first descriptor that a runtime hands on to a container */
#define PASSES_KVM 1  /* status of `pyvmm oci`: the container needs that */

/* Options in front of the command that have a value as a word of its own. */
static const char *const valued[] = {
    "--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager", NULL,
};

static bool takes_value(const char *word)
{
    for (size_t i = 0; valued[i]; i++)
        if (!strcmp(word, valued[i]))
            return true;
    return false;
}

/* The value of an option, if `words` begins with it: "--name VALUE" or "--name=VALUE". */
static const char *value_of(char **words, const char *name)
{
    size_t length = strlen(name);

    if (strncmp(words[0], name, length))
        return NULL;
    if (words[0][length] == '=')
        return words[0] + length + 1;
    return words[0][length] ? NULL : words[1];
}

/* The real runtime: what a variable names; or, because podman passes none on, the rest of the
 * name that this program was called by, such as pyvmm-oci-crun. */
static const char *real_runtime(const char *called)
{
    const char *named = getenv("PYVMM_OCI_RUNTIME"), *base = strrchr(called, '/');

    if (named && *named)
        return named;
    base = base ? base + 1 : called;
    return !strncmp(base, NAME, sizeof NAME - 1) && base[sizeof NAME - 1] ? base + sizeof NAME - 1 : RUNTIME;
}

/* Whether this is a user namespace other than the first (user_namespaces(7)). */
static bool in_user_namespace(void)
{
    unsigned long first = 1, outside = 1, count = 0;
    FILE *map = fopen("/proc/self/uid_map", "re");
    bool read = map && fscanf(map, "%lu %lu %lu", &first, &outside, &count) == 3;

    if (map)
        fclose(map);
    return read && (first || outside || count != 0xffffffff);
}

/* Rootless engines run this in a user namespace, where /dev/kvm belongs to nobody who has a number
 * there.  The user may open it by its group, which the runtime takes away before the container's
 * program starts.  So it is opened here, and handed on; unless the engine hands on descriptors of
 * its own.  Returns whether it is open as KVM_FD. */
static bool open_kvm(char **options)
{
    int fd;

    for (; *options; options++)
        if (value_of(options, "--preserve-fds"))
            return false;
    if (!in_user_namespace() || getenv("LISTEN_FDS"))
        return false;
    fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd == KVM_FD)
        return fcntl(fd, F_SETFD, 0) == 0;
    return fd >= 0 && dup2(fd, KVM_FD) == KVM_FD;
}

/* Runs `pyvmm oci`; returns its exit status. */
static int rewrite(const char *bundle, const char *log, bool kvm)
{
    char pyvmm[PATH_MAX + sizeof "pyvmm"];
    ssize_t length = readlink("/proc/self/exe", pyvmm, PATH_MAX);
    char *words[7] = {pyvmm, "oci", (char *)bundle}, **word = words + 3;
    int status = 0;
    pid_t child;

    while (length > 0 && pyvmm[length - 1] != '/')
        length--;
    strcpy(pyvmm + (length < 0 ? 0 : length), "pyvmm");
    if (kvm)
        *word++ = "--pass-kvm";
    if (log) {
        *word++ = "--log";
        *word = (char *)log;
    }
    child = vfork();
    if (!child) {
        execv(pyvmm, words);
        dprintf(STDERR_FILENO, "pyvmm-oci: %s: %s\n", pyvmm, strerror(errno));
        _exit(125);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        dprintf(STDERR_FILENO, "pyvmm-oci: %s: %s\n", pyvmm, strerror(errno));
        return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

int main(int argc, char **argv)
{
    const char *runtime = real_runtime(argc ? argv[0] : ""), *bundle = ".", *log = NULL, *value;
    char **word = argv + (argc > 0), **command, *words[argc + 2];

    for (; *word && **word == '-'; word++) {
        if ((value = value_of(word, "--log")))
            log = value;
        if (takes_value(*word) && word[1])
            word++;
    }
    command = word;
    if (*word && (!strcmp(*word, "create") || !strcmp(*word, "run"))) {
        int status;
        while (*++word)
            if ((value = value_of(word, "--bundle")) || (value = value_of(word, "-b")))
                bundle = value;
        status = rewrite(bundle, log, open_kvm(command));
        if (status && status != PASSES_KVM)
            return status;
        if (status == PASSES_KVM) {
            memcpy(words, argv, (size_t)(command + 1 - argv) * sizeof *words);
            words[command + 1 - argv] = "--preserve-fds=1";
            memcpy(words + (command + 2 - argv), command + 1, (size_t)(word - command) * sizeof *words);
            argv = words;
        }
    }
    argv[0] = (char *)runtime;
    execvp(runtime, argv);
    dprintf(STDERR_FILENO, "pyvmm-oci: %s: %s; name another runtime by PYVMM_OCI_RUNTIME\n", runtime,
            strerror(errno));
    return 125;
}
