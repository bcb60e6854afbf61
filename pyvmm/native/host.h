/* Small calls to the host and its CPU. */
#ifndef PYVMM_HOST_H
#define PYVMM_HOST_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "pin.h"
#include "python.h"

/* Breaks a thread out of KVM_RUN or of a blocking write. */
#define THREAD_KICK_SIGNAL SIGRTMIN

PYTHON uint64_t rdtsc(void);
PYTHON uint64_t clock_ns(int clock);
PYTHON uint64_t clock_with_tsc(int clock, uint64_t *tsc);
PYTHON void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
PYTHON uint64_t process_start_ns(void);
PYTHON int timer_fd(uint64_t ns);
PYTHON int signal_fd(const int *signals, int count);
PYTHON void signal_fd_close(int fd, const int *signals, int count);
PYTHON void process_stop(void);
PYTHON void raise_descriptor_limit(uint64_t wanted);
PYTHON uint8_t *map_memory(int fd, uint64_t size);
PYTHON int enter_netns(int fd);
PYTHON bool wait_readable(int fd, int timeout_ms);
PYTHON int open_inside(int directory, const char *path);
void event_raise(int fd);
int thread_start(pthread_t *thread, const char *name, const struct cpus *cpus, void *(*run)(void *),
                 void *argument);

#endif
