/* Lets a vCPU continue where KVM cannot execute an instruction.
 *
 * A KVM without hardware virtualization interprets ring 0, and its emulator was made
 * for drivers' accesses to devices: it lacks floating point and more.  It then exits
 * (KVM_EXIT_INTERNAL_ERROR, suberror KVM_INTERNAL_ERROR_EMULATION) with RIP at the
 * instruction.  So the vCPU's state is read, the instruction is executed here or its
 * exception made pending, and the state is written back.  docs/limits.md lists the
 * instructions. */
#include "emulate/emulate.h"
#include "vcpu.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define XSTATE_BV (512 / 4) /* in words of struct kvm_xsave */
#define XSTATE_FP_SSE 3u
#define DR6_BS (1ull << 14) /* a single step */

static void inject(struct vcpu *vcpu, const struct cpu *cpu)
{
    struct kvm_vcpu_events *events = &vcpu->run->s.regs.events;

    memset(&events->exception, 0, sizeof events->exception);
    events->exception.injected = 1;
    events->exception.nr = cpu->vector;
    events->exception.has_error_code = cpu->has_error;
    events->exception.error_code = cpu->error;
    events->flags = 0;
    vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
}

/* Has KVM put all that kvm_run can hold of the vCPU's state there: a KVM_RUN that ends
 * before the guest runs. */
static bool fetch(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    bool fetched;

    run->immediate_exit = 1;
    run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
    fetched = ioctl(vcpu->fd, KVM_RUN, 0) < 0 && errno == EINTR;
    run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    run->immediate_exit = 0;
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&vcpu->stop) || atomic_load(&vcpu->pause)) /* asked meanwhile */
        run->immediate_exit = 1;
    return fetched;
}

static int note_single_step(struct vcpu *vcpu)
{
    struct kvm_debugregs debug;

    if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug) < 0)
        return -1;
    debug.dr6 |= DR6_BS;
    return ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug);
}

static int put_back(struct vcpu *vcpu, struct cpu *cpu, struct kvm_xsave *xsave,
                    enum outcome outcome)
{
    if (xsave && memcmp(xsave->region, &cpu->fx, sizeof cpu->fx)) {
        memcpy(xsave->region, &cpu->fx, sizeof cpu->fx);
        /* Without its bit a component is set to its initial state, whatever the area holds. */
        xsave->region[XSTATE_BV] |= XSTATE_FP_SSE;
        if (ioctl(vcpu->fd, KVM_SET_XSAVE, xsave) < 0)
            return -1;
    }
    vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    if (outcome == FAULT && cpu->vector == PF) {
        vcpu->run->s.regs.sregs = cpu->sregs;
        vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    }
    if (outcome == DONE && cpu->regs.rflags & FLAG_TF) {
        if (note_single_step(vcpu) < 0)
            return -1;
        outcome = cpu_fault(cpu, DB);
    }
    if (outcome == FAULT && cpu->vector == BP)
        cpu->regs.rip++;
    vcpu->run->s.regs.regs = cpu->regs;
    if (outcome == FAULT)
        inject(vcpu, cpu);
    return 0;
}

/* Executes the instruction for which the vCPU has exited.  Returns false if it is
 * unknown, or an ioctl for the vCPU's state fails. */
bool vcpu_emulate(struct vcpu *vcpu)
{
    struct cpu cpu = {.ram = vcpu->bus->ram};
    struct kvm_xsave xsave;
    enum outcome outcome;
    struct insn insn;
    bool fpu = false;

    if (!fetch(vcpu))
        return false;
    cpu.regs = vcpu->run->s.regs.regs;
    cpu.sregs = vcpu->run->s.regs.sregs;
    outcome = insn_decode(&cpu, &insn);
    if (outcome == DONE) {
        fpu = insn_uses_fpu(&insn);
        if (fpu && ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave) < 0)
            return false;
        memcpy(&cpu.fx, xsave.region, fpu ? sizeof cpu.fx : 0);
        outcome = insn_execute(&cpu, &insn);
    }
    if (outcome == UNKNOWN || put_back(vcpu, &cpu, fpu ? &xsave : NULL, outcome) < 0)
        return false;
    vcpu->emulated++;
    return true;
}
