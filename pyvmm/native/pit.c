/* An 8254 timer (Intel 231164: 8254 Programmable Interval Timer) and port 61h, for existing
 * Toro kernels in place of KVM's.  They measure the frequency of their TSC with it, once:
 *
 *     close the gate of channel 2, load ffff, open the gate
 *     wait for 6,000,000 ticks of the TSC
 *     close the gate, read the count
 *
 * and take it that the gate was open for these 6,000,000 ticks.  Where the vCPU has lost its
 * CPU meanwhile it was open for longer, up to ten times so on a busy host, and every time
 * that the guest ever measures would be wrong by that.  So the first look at the count finds
 * what a CPU that is never lost would find: no more than GATE_OPEN ticks of the TSC, at
 * its true frequency.  Whoever looks again sees the time go on.
 *
 * No channel interrupts, and BCD counts are read as binary. */
#include "pit.h"
#include "host.h"

#include <string.h>

#define HZ 1193182
#define GATE_OPEN 6000000 /* ticks of the TSC */
#define REFRESH_HZ 66288  /* of the bit that changes with each refresh of a PC's memory */

#define CONTROL 3 /* the port behind those of the channels */

/* The control word. */
#define READ_BACK 3
#define NO_COUNT 0x20
#define NO_STATUS 0x10
enum { LATCH, LOW, HIGH, LOW_HIGH };

/* Port 61h. */
#define GATE 0x01
#define SPEAKER 0x02
#define REFRESH 0x10
#define OUT 0x20

/* A count of 0 is 10000h. */
static uint32_t period(const struct kvm_pit_channel_state *channel)
{
    return ((channel->count - 1) & 0xffff) + 1;
}

static uint64_t ticks(const struct pit *pit, uint64_t tsc, uint64_t hz)
{
    return pit->tsc_hz ? (uint64_t)((unsigned __int128)tsc * hz / pit->tsc_hz) : 0;
}

/* For how many of its own ticks a channel has counted. */
static uint64_t counted(const struct pit *pit, const struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    uint64_t since = (uint64_t)channel->count_load_time;

    return ticks(pit, channel->gate ? tsc - since : since, HZ);
}

static bool out_level(const struct pit *pit, const struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    uint64_t now = counted(pit, channel, tsc);

    switch (channel->mode) {
    case 2:
        return now % period(channel) != period(channel) - 1;
    case 3:
        return now % period(channel) < (period(channel) + 1) / 2;
    case 4:
    case 5:
        return now != period(channel);
    default:
        return now >= period(channel);
    }
}

static uint16_t count_now(const struct pit *pit, const struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    uint64_t now = counted(pit, channel, tsc);

    switch (channel->mode) {
    case 2:
        return (uint16_t)(period(channel) - now % period(channel));
    case 3: /* twice as fast */
        return (uint16_t)(period(channel) - 2 * now % period(channel));
    default:
        return (uint16_t)(channel->count - now);
    }
}

/* Somebody looks at channel 2, or closes its gate.  Returns the TSC that is told. */
static uint64_t look(struct pit *pit, const struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    uint64_t since = (uint64_t)channel->count_load_time;

    if (channel != &pit->state.channels[2] || !channel->gate || !pit->unseen)
        return tsc;
    pit->unseen = false;
    return tsc - since > GATE_OPEN ? since + GATE_OPEN : tsc;
}

static void set_gate(struct pit *pit, bool open, uint64_t tsc)
{
    struct kvm_pit_channel_state *channel = &pit->state.channels[2];

    if (open == channel->gate)
        return;
    if (!open)
        tsc = look(pit, channel, tsc);
    /* In modes 1, 2, 3 and 5 the gate starts the count anew; else it only stops it. */
    if (open && channel->mode % 4)
        channel->count_load_time = 0;
    channel->count_load_time = (int64_t)(tsc - (uint64_t)channel->count_load_time);
    channel->gate = open;
    pit->unseen = open;
}

static void load(struct pit *pit, struct kvm_pit_channel_state *channel, uint32_t count, uint64_t tsc)
{
    channel->count = count;
    channel->count_load_time = channel->gate ? (int64_t)tsc : 0;
    if (channel == &pit->state.channels[2])
        pit->unseen = channel->gate;
}

/* ---- ports ------------------------------------------------------------------ */

static void latch_count(struct pit *pit, struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    if (channel->count_latched)
        return;
    channel->latched_count = count_now(pit, channel, look(pit, channel, tsc));
    channel->count_latched = channel->rw_mode;
}

static void read_back(struct pit *pit, uint8_t value, uint64_t tsc)
{
    for (int i = 0; i < 3; i++) {
        struct kvm_pit_channel_state *channel = &pit->state.channels[i];

        if (!(value & 2 << i))
            continue;
        if (!(value & NO_COUNT))
            latch_count(pit, channel, tsc);
        if (!(value & NO_STATUS) && !channel->status_latched) {
            channel->status = (uint8_t)(out_level(pit, channel, tsc) << 7 | channel->rw_mode << 4 |
                                        channel->mode << 1 | channel->bcd);
            channel->status_latched = 1;
        }
    }
}

static void control(struct pit *pit, uint8_t value, uint64_t tsc)
{
    struct kvm_pit_channel_state *channel = &pit->state.channels[value >> 6 & 3];

    if (value >> 6 == READ_BACK) {
        read_back(pit, value, tsc);
    } else if ((value >> 4 & 3) == LATCH) {
        latch_count(pit, channel, tsc);
    } else {
        channel->rw_mode = value >> 4 & 3;
        channel->mode = value >> 1 & 7;
        if (channel->mode > 5)
            channel->mode &= 3; /* bit 2 is not looked at in modes 2 and 3 */
        channel->bcd = value & 1;
        channel->read_state = channel->write_state = channel->rw_mode == HIGH ? HIGH : LOW;
        channel->count_latched = channel->status_latched = 0;
    }
}

static void write_count(struct pit *pit, struct kvm_pit_channel_state *channel, uint8_t value, uint64_t tsc)
{
    if (channel->rw_mode != LOW_HIGH) {
        load(pit, channel, channel->rw_mode == HIGH ? (uint32_t)value << 8 : value, tsc);
    } else if (channel->write_state == LOW) {
        channel->write_latch = value;
        channel->write_state = HIGH;
    } else {
        load(pit, channel, (uint32_t)value << 8 | channel->write_latch, tsc);
        channel->write_state = LOW;
    }
}

static uint8_t read_count(struct pit *pit, struct kvm_pit_channel_state *channel, uint64_t tsc)
{
    uint16_t count;
    bool high;

    if (channel->status_latched) {
        channel->status_latched = 0;
        return channel->status;
    }
    if (channel->count_latched) { /* LOW, HIGH, or LOW_HIGH: both bytes are still to be read */
        high = channel->count_latched == HIGH;
        channel->count_latched = channel->count_latched == LOW_HIGH ? HIGH : 0;
        count = channel->latched_count;
    } else {
        high = channel->read_state == HIGH;
        if (channel->rw_mode == LOW_HIGH)
            channel->read_state = high ? LOW : HIGH;
        count = count_now(pit, channel, look(pit, channel, tsc));
    }
    return (uint8_t)(high ? count >> 8 : count);
}

/* Reads and writes a port when the guest's TSC is `tsc`. */
uint8_t pit_read(struct pit *pit, uint64_t port, uint64_t tsc)
{
    const struct kvm_pit_channel_state *channel = &pit->state.channels[2];
    uint8_t value = 0xff;

    pthread_mutex_lock(&pit->lock);
    if (port == PIT_GATE_PORT)
        value = (uint8_t)((channel->gate ? GATE : 0) | (pit->state.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? SPEAKER : 0) |
                          (ticks(pit, tsc, REFRESH_HZ) & 1 ? REFRESH : 0) | (out_level(pit, channel, tsc) ? OUT : 0));
    else if (port != PIT_PORT + CONTROL)
        value = read_count(pit, &pit->state.channels[port - PIT_PORT], tsc);
    pthread_mutex_unlock(&pit->lock);
    return value;
}

void pit_write(struct pit *pit, uint64_t port, uint8_t value, uint64_t tsc)
{
    pthread_mutex_lock(&pit->lock);
    if (port == PIT_GATE_PORT) {
        pit->state.flags = value & SPEAKER ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
        set_gate(pit, value & GATE, tsc);
    } else if (port == PIT_PORT + CONTROL) {
        control(pit, value, tsc);
    } else {
        write_count(pit, &pit->state.channels[port - PIT_PORT], value, tsc);
    }
    pthread_mutex_unlock(&pit->lock);
}

static bool access_ports(struct pit *pit, bool write, uint64_t port, uint8_t *data, uint32_t size, uint32_t count)
{
    uint64_t tsc = rdtsc() + pit->tsc_offset;

    if (size > 1) {
        if (!write)
            memset(data, 0xff, (size_t)size * count);
        return true;
    }
    for (uint32_t i = 0; i < count; i++)
        if (write)
            pit_write(pit, port, data[i], tsc);
        else
            data[i] = pit_read(pit, port, tsc);
    return true;
}

bool pit_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset, uint8_t *data, uint32_t size,
                uint32_t count)
{
    (void)vcpu;
    return access_ports(device, write, PIT_PORT + offset, data, size, count);
}

bool pit_gate_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset, uint8_t *data, uint32_t size,
                     uint32_t count)
{
    (void)vcpu;
    return access_ports(device, write, PIT_GATE_PORT + offset, data, size, count);
}

/* ---- its life ------------------------------------------------------------------ */

/* As after power-on, or as it was frozen. */
void pit_init(struct pit *pit, const struct kvm_pit_state2 *state)
{
    memset(pit, 0, sizeof *pit);
    pthread_mutex_init(&pit->lock, NULL);
    for (int i = 0; i < 3; i++) {
        pit->state.channels[i].gate = i != 2;
        pit->state.channels[i].mode = 3;
        pit->state.channels[i].rw_mode = LOW_HIGH;
        pit->state.channels[i].read_state = pit->state.channels[i].write_state = LOW;
    }
    if (state)
        pit->state = *state;
    pit->unseen = pit->state.channels[2].gate;
}

void pit_save(struct pit *pit, struct kvm_pit_state2 *state)
{
    pthread_mutex_lock(&pit->lock);
    *state = pit->state;
    pthread_mutex_unlock(&pit->lock);
}
