/* The vCPUs of a machine, with their registers.
 *
 * TSC and local APIC come before the timer's deadline, an MSR, which KVM would ignore
 * otherwise. */
#define _GNU_SOURCE
#include "thaw/parts.h"
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MSR_TSC 0x10

static bool set_msrs(struct machine *m, const struct state *state, uint32_t cpu)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[STATE_MSRS];
    } msrs = {0};
    uint64_t size;
    const void *section = state_section(state, STATE_MSR, cpu, &size);
    int done;

    if (!section)
        return true;
    memcpy(msrs.entry, section, size);
    msrs.head.nmsrs = (uint32_t)(size / sizeof *msrs.entry);
    done = ioctl(m->vcpus[cpu].fd, KVM_SET_MSRS, &msrs);
    if (done == (int)msrs.head.nmsrs)
        return true;
    errno = done < 0 ? errno : EINVAL;
    return thaw_failed(m, "KVM_SET_MSRS", (int)cpu);
}

/* Lets the guest's TSC go on from where it was when the host's was `now`. */
static bool set_tsc(struct machine *m, const struct state *state, uint32_t cpu, uint64_t now)
{
    const uint64_t *tsc = state_section(state, STATE_TSC, cpu, NULL);
    uint64_t offset = tsc ? *tsc - now : 0;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&offset};

    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry = {.index = MSR_TSC, .data = tsc ? *tsc : 0}};

    if (!tsc || ioctl(m->vcpus[cpu].fd, KVM_SET_DEVICE_ATTR, &attr) >= 0)
        return true;
    return THAW_IOCTL(m, m->vcpus[cpu].fd, KVM_SET_MSRS, &msr, (int)cpu); /* before Linux 5.16 */
}

/* Features that CPUID tells of: leaf, and the registers with them (EBX, ECX, EDX). */
static const struct {
    uint32_t leaf, ebx, ecx, edx;
} features[] = {
    {1, 0, 0x7ff7dfff, 0xfffffdff}, /* without OSXSAVE, the hypervisor bit and the APIC's */
    {7, ~0u, 0, 0},
    {0x80000001, 0, ~0u, ~0x200u},
};

/* A guest that has found features of a CPU cannot go on without them.  (That of a PC has
 * been shown some that KVM emulates.) */
static bool check_features(struct machine *m, const struct state *state)
{
    const struct kvm_cpuid2 *shown = state_section(state, STATE_CPUID, 0, NULL);
    uint32_t host[4];

    if (!(state->header->flags & STATE_HAS_RUN) || state->header->flags & STATE_PC)
        return true;
    for (uint32_t i = 0; i < shown->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &shown->entries[i];

        for (size_t k = 0; k < sizeof features / sizeof *features; k++) {
            if (entry->function != features[k].leaf || entry->index)
                continue;
            cpuid(entry->function, 0, host);
            if (entry->ebx & features[k].ebx & ~host[1] || entry->ecx & features[k].ecx & ~host[2] ||
                entry->edx & features[k].edx & ~host[3]) {
                errno = ENOTSUP;
                return thaw_failed(m, "this CPU lacks features of the one that the guest was frozen on", -1);
            }
        }
    }
    return true;
}

#define SET(kind, request) \
    ((section = state_section(state, kind, cpu, NULL)) && !THAW_IOCTL(m, fd, request, section, (int)cpu))

static bool set_registers(struct machine *m, const struct state *state, uint32_t cpu, uint64_t now)
{
    int fd = m->vcpus[cpu].fd;
    const void *section;

    if (SET(STATE_CPUID, KVM_SET_CPUID2) || SET(STATE_SREGS, KVM_SET_SREGS) || SET(STATE_REGS, KVM_SET_REGS) ||
        SET(STATE_XCRS, KVM_SET_XCRS) || SET(STATE_XSAVE, KVM_SET_XSAVE) || !set_tsc(m, state, cpu, now) ||
        SET(STATE_LAPIC, KVM_SET_LAPIC) || !set_msrs(m, state, cpu) || SET(STATE_DEBUG, KVM_SET_DEBUGREGS) ||
        SET(STATE_EVENTS, KVM_SET_VCPU_EVENTS) || SET(STATE_MP, KVM_SET_MP_STATE))
        return false;
    return true;
}

bool thaw_vcpus(struct machine *m, const struct state *state, size_t run_size)
{
    uint64_t now;

    m->cpus = state->header->cpus;
    m->vcpus = calloc(m->cpus, sizeof *m->vcpus);
    if (!m->vcpus)
        return thaw_failed(m, "vCPUs", -1);
    for (; m->made < m->cpus; m->made++) {
        int fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, m->made);

        if (fd < 0)
            return thaw_failed(m, "KVM_CREATE_VCPU", (int)m->made);
        if (vcpu_init(&m->vcpus[m->made], fd, run_size, (int)m->made, &m->bus) < 0) {
            thaw_failed(m, "mapping kvm_run", (int)m->made);
            close(fd);
            return false;
        }
    }
    if (!check_features(m, state))
        return false;
    now = rdtsc();
    for (uint32_t cpu = 0; cpu < m->cpus; cpu++)
        if (!set_registers(m, state, cpu, now))
            return false;
    return true;
}
