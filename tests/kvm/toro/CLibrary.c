/* What a program in C expects of its library and of its process, on every rank. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <mpi.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LONG 100000

static int rank, size, wrong;
static int initialized = 5, zero;
static int *pointer = &initialized;
static char much[3 << 20];
static __thread int local = 7;
static jmp_buf place;

static void check_at(int holds, const char *what, int line)
{
    if (!holds) {
        fprintf(stderr, "rank %d, line %d: %s\n", rank, line, what);
        wrong++;
    }
}
#define check(what) check_at(what, #what, __LINE__)

__attribute__((constructor)) static void construct(void)
{
    initialized++;
}

static void at_exit(void)
{
    if (rank == size - 1)
        printf("bye\n");
}

/* Each rank has its own; MPI passes their addresses between ranks. */
static void globals(void)
{
    static int mine, all[64], longs[LONG];
    int other = (rank + 1) % size, before = (rank + size - 1) % size;
    MPI_Request request;

    check(initialized == 6 && pointer == &initialized && *pointer == 6 && zero == 0 && local == 7);
    initialized = zero = local = mine = rank + 100;
    memset(much, rank + 1, sizeof much);
    MPI_Barrier(MPI_COMM_WORLD);
    check(initialized == rank + 100 && zero == rank + 100 && local == rank + 100 && *pointer == rank + 100);
    check(much[0] == rank + 1 && much[sizeof much - 1] == rank + 1);
    MPI_Allgather(&mine, 1, MPI_INT, all, 1, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        check(all[i] == i + 100);
    for (int i = 0; i < LONG; i++)
        longs[i] = rank * LONG + i;
    MPI_Isend(longs, LONG / 2, MPI_INT, other, 1, MPI_COMM_WORLD, &request);
    MPI_Recv(longs + LONG / 2, LONG / 2, MPI_INT, before, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    check(longs[LONG / 2] == before * LONG && longs[LONG - 1] == before * LONG + LONG / 2 - 1);
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void library(void)
{
    char text[100], *end;
    int numbers[] = {3, 1, 2}, count;
    double x;
    struct timespec before, after;
    time_t day = 86400;

    snprintf(text, sizeof text, "%-5s|%5.2f|%#x|%lld|%zu", "ab", 1.005, 255, 1LL << 40, sizeof text);
    check(!strcmp(text, "ab   | 1.00|0xff|1099511627776|100"));
    check(sscanf("12 3.5 word", "%d %lf %s", &count, &x, text) == 3 && count == 12 && x == 3.5 && !strcmp(text, "word"));
    check(strtol("0x10z", &end, 0) == 16 && *end == 'z' && strtod("1e3", NULL) == 1000);
    qsort(numbers, 3, sizeof *numbers, by_value);
    check(numbers[0] == 1 && numbers[2] == 3);
    srand(42);
    count = rand();
    srand(42);
    check(rand() == count);
    check(fabs(sin(1) - 0.8414709848078965) < 1e-15 && pow(2, 0.5) == sqrt(2) && floor(-1.5) == -2);
    check(isnan(0.0 / zero * 0) || zero != 0);
    check(setlocale(LC_ALL, NULL) && !strcmp(setlocale(LC_ALL, "C"), "C"));
    strftime(text, sizeof text, "%Y-%m-%d", gmtime(&day));
    check(!strcmp(text, "1970-01-02"));
    clock_gettime(CLOCK_MONOTONIC, &before);
    usleep(2000);
    clock_gettime(CLOCK_MONOTONIC, &after);
    check((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 2000000);
    check(time(NULL) > 1700000000);
    if (!setjmp(place))
        longjmp(place, 1);
    void *aligned;
    check(!posix_memalign(&aligned, 4096, 100) && (size_t)aligned % 4096 == 0);
    free(aligned);
    errno = 0;
    check(!fopen("/nowhere/file", "r") && errno == ENOENT);
    check(sysconf(_SC_NPROCESSORS_ONLN) == size);
    check(getenv("NAME") && !strcmp(getenv("NAME"), "a value"));
}

static void files(void)
{
    char name[100], line[100];
    struct stat status;
    int found = 0;
    snprintf(name, sizeof name, "/share/rank-%d.txt", rank);
    FILE *file = fopen(name, "w");
    if (!file) {
        check(!"fopen");
        return;
    }
    fprintf(file, "rank %d\nsecond line\n", rank);
    check(fwrite(much, 1, sizeof much, file) == sizeof much && !fclose(file));
    check(!stat(name, &status) && status.st_size == (off_t)sizeof much + 7 + (rank > 9) + 12);
    file = fopen(name, "r+");
    check(fgets(line, sizeof line, file) && atoi(line + 5) == rank);
    check(!fseek(file, -1, SEEK_END) && fgetc(file) == rank + 1 && fgetc(file) == EOF && feof(file));
    fclose(file);
    DIR *directory = opendir("/share");
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        found |= !strcmp(entry->d_name, name + 7);
    check(found);
    closedir(directory);
    check(!remove(name) && remove(name) && errno == ENOENT);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    atexit(at_exit);
    globals();
    library();
    if (argc > 1 && !strcmp(argv[1], "files"))
        files();
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return wrong != 0;
}
