/* Reads the command line of `pyvmm boot` by the table in options.py.
 *
 * Whatever is unusual about it is left to Python, which has a message for each mistake. */
#include "words.h"
#include "options.h"

#include <string.h>

enum { CONSOLE = 3, VSOCK = 19, FS = 26 }; /* virtio 1.2, section 5 */

static bool is(const char *word, size_t length, const char *name)
{
    return strlen(name) == length && !memcmp(word, name, length);
}

static bool ends_with(const char *word, const char *end)
{
    size_t length = strlen(word), size = strlen(end);

    return length >= size && !strcmp(word + length - size, end);
}

/* Bytes up to an equals sign, or the end. */
static size_t name_length(const char *word)
{
    const char *at = word;

    while (*at && *at != '=')
        at++;
    return (size_t)(at - word);
}

static const struct option *find(const char *word, size_t length)
{
    for (const struct option *option = boot_options; option->name; option++)
        if (is(word, length, option->name))
            return option;
    return NULL;
}

/* Where the value of an option goes; NULL if only Python needs it. */
static const char **place(struct words *words, const char *name)
{
    const struct {
        const char *name, **value;
    } places[] = {
        {"--mem", &words->memory}, {"--cpus", &words->cpus}, {"--append", &words->append},
        {"--boot", &words->boot}, {"--initrd", &words->initrd}, {"--pin", &words->pin},
        {"--sandbox", &words->sandbox}, {"--user", &words->user},
    };

    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!strcmp(name, places[i].name))
            return places[i].value;
    return NULL;
}

/* Reads the words behind `boot`, up to NULL.  Returns false if Python is to look at them. */
bool words_read(struct words *words, char **rest)
{
    uint32_t consoles = 0, vsocks = 0, shares = 0;
    uint64_t given = 0; /* a bit for each option of the table */

    *words = (struct words){.cached = true};
    for (const char *word; (word = *rest); rest++) {
        size_t length = name_length(word);
        const char *value = word[length] ? word + length + 1 : NULL;
        const struct option *option;
        const char **to;

        if (word[0] != '-' || !word[1]) {
            if (words->image)
                return false;
            words->image = word;
            continue;
        }
        option = find(word, length);
        if (!option || (option->kind == FLAG && value))
            return false;
        if (option->kind >= VALUE && !value && !(value = *++rest))
            return false;
        if (option->kind != REPEATABLE && given >> (option - boot_options) & 1)
            return false;
        given |= 1ull << (option - boot_options);
        to = place(words, option->name);
        if (to) {
            *to = value;
        } else if (!strcmp(option->name, "--timing")) {
            if (value && !ends_with(value, ".json") && !ends_with(value, ".svg"))
                return false;
            words->timed = true;
            words->report = value;
        } else if (!strcmp(option->name, "--detach")) { /* Python forks before it makes threads */
            return false;
        } else if (!strcmp(option->name, "--no-cache")) {
            words->cached = false;
        } else if (!strcmp(option->name, "--gdb") || !strcmp(option->name, "--trace")) {
            return false; /* there is something to be set up before the guest runs */
        } else {
            words->by_python = true;
            consoles += !strcmp(option->name, "--console");
            vsocks += !strcmp(option->name, "--vsock");
            shares += !strcmp(option->name, "--share");
        }
    }
    if (!words->image || consoles + vsocks + shares > STATE_DEVICES)
        return false;
    if (consoles)
        words->devices[words->device_count++] = CONSOLE;
    if (vsocks)
        words->devices[words->device_count++] = VSOCK;
    for (words->shared = shares; shares; shares--)
        words->devices[words->device_count++] = FS;
    return true;
}
