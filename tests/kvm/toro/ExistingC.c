/* C for the existing Toro: its names, and a printf of its own. */
#include <stdarg.h>

extern int Mpi_Scatter(void *, int, void *, int *, int);
extern int Mpi_Reduce(void *, void *, int, int, int);
extern int Mpi_AllReduce(void *, void *, int, int, int);
extern void Mpi_Barrier(int);
extern void MPI_Comm_size(int, int *);
extern void MPI_Comm_rank(int, int *);
extern void PutCtoSerial(char);
extern void PrintDecimal(int);
extern void FlushUp(void);
extern void Mpi_Bcast(void *, int, int);
extern int Mpi_Send(void *, int, int);
extern int Mpi_Recv(void *, int, int);
extern unsigned long Mpi_Wtime(void);

enum { SUM, MIN, MAX };

static int calls; /* relocated data, and a table that the compiler makes of the switch */

void printf(char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++)
        if (format[0] == '%' && format[1] == 'd') {
            PrintDecimal(va_arg(arguments, int));
            format++;
        } else
            PutCtoSerial(*format);
    va_end(arguments);
    FlushUp();
}

void mainC(void)
{
    int rank, size, bytes, part, least, most, token[3] = {0};
    int all[64], sums[64];
    unsigned long began = Mpi_Wtime();

    MPI_Comm_rank(0, &rank);
    MPI_Comm_size(0, &size);
    for (int i = 0; i < 64; i++)
        all[i] = rank + i;
    __sync_fetch_and_add(&calls, 1);
    Mpi_Barrier(0);
    Mpi_Reduce(all, sums, 64, SUM, 0);
    Mpi_Scatter(sums, size, &part, &bytes, 0);
    Mpi_AllReduce(&part, &least, 1, MIN, 0);
    Mpi_AllReduce(&part, &most, 1, MAX, 0);
    token[0] = rank == 0 ? -77 : 0;
    Mpi_Bcast(token, 1, 0);
    if (rank == size - 1)
        Mpi_Send(token, sizeof token, 0);
    if (rank == 0) {
        Mpi_Recv(token, sizeof token, size - 1);
        printf("%d ranks called, parts of %d bytes from %d to %d, %d, time %d", calls, bytes, least, most, token[0],
               Mpi_Wtime() > began);
    }
}
