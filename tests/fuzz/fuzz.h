/* Shared by the fuzzers.  With libFuzzer (clang -fsanitize=fuzzer,address,undefined
 * -DLIBFUZZER) each is a target; otherwise a program, `NAME SECONDS SEED FILE…`, that
 * runs the files and then mutations of them. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void check(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "failed: %s\n", what);
        abort();
    }
}

#ifndef LIBFUZZER
#define INPUT_MAX 8195u /* bytes */
#define MUTATIONS 20000 /* of a file, before the next file's turn */

static uint64_t state;

static uint32_t random32(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}

/* Bytes near the beginning matter most. */
static void mutate(uint8_t *data, size_t size)
{
    static const uint8_t interesting[] = {0, 1, 2, 3, 4, 7, 8, 16, 0x20, 0x7f, 0x80, 0xff};
    for (uint32_t n = 1 + random32() % 8; n; n--) {
        size_t reach = random32() % 4 ? (size < 300 ? size : 300) : size;
        data[random32() % reach] = random32() % 2 ? interesting[random32() % sizeof interesting]
                                                  : (uint8_t)random32();
    }
}

static size_t read_file(const char *path, uint8_t *data)
{
    FILE *file = fopen(path, "rb");
    check(file, path);
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX], input[INPUT_MAX];
    unsigned long runs = 0;
    time_t end;

    check(argc > 3, "usage: NAME SECONDS SEED FILE...");
    end = time(NULL) + atoi(argv[1]);
    state = strtoull(argv[2], NULL, 0) | 1;
    do
        for (int i = 3; i < argc; i++) {
            size_t size = read_file(argv[i], data);
            time_t turn_end = time(NULL) + 1;
            LLVMFuzzerTestOneInput(data, size);
            for (int n = 0; n < MUTATIONS && size && time(NULL) <= turn_end; n++, runs++) {
                memcpy(input, data, size);
                mutate(input, size);
                LLVMFuzzerTestOneInput(input, size);
            }
        }
    while (time(NULL) < end);
    printf("%lu inputs\n", runs);
    return 0;
}
#endif

#endif
