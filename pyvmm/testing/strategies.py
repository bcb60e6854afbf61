"""hypothesis strategies for cases: what honest and hostile drivers do to a device.

Example::

    profile = profile_of(Entropy())

    @given(hostile_cases(profile))
    def test_it_survives(steps):
        assert not run(steps, Entropy).problem
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from pyvmm.testing import registers as r
from pyvmm.testing.payloads import FUSE_INIT, U16, payloads
from pyvmm.testing.steps import (
    ARENA,
    BUFFERS,
    QUEUE_BYTES,
    RAM,
    TABLE_BYTES,
    TABLES,
    Describe,
    Expose,
    Jump,
    Notify,
    Offer,
    Read,
    Start,
    Step,
    Store,
    Wait,
    Write,
    queue_base,
)
from pyvmm.testing.virtqueue import AVAIL, DESC, INDIRECT, NEXT, USED, WRITE
from pyvmm.virtio.device import EVENT_IDX, INDIRECT_DESC, VERSION_1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.testing.profile import Profile

Steps = tuple[Step, ...]

_FS = 26
#: Groups of steps in a case, at most.
_GROUPS = 12


def starts(profile: Profile) -> st.SearchStrategy[Start]:
    """An honest start: any sizes that there may be, and any of the features of rings."""
    sizes = [st.sampled_from([size for size in (8, 1, 2, 4, 16, 64, 256) if size <= most]) for most in profile.sizes]
    rings = [feature for feature in (INDIRECT_DESC, EVENT_IDX) if profile.features & feature]
    features = (
        st.sets(st.sampled_from(rings)).map(lambda chosen: VERSION_1 | sum(chosen)) if rings else st.just(VERSION_1)
    )
    return st.builds(Start, st.tuples(*sizes), features)


def honest_cases(profile: Profile) -> st.SearchStrategy[list[Step]]:
    """A driver that does nothing wrong: `run` may be told so."""
    kinds = payloads(profile)
    groups = [_steps(st.sampled_from([Read(r.INTERRUPT_STATUS), Wait(), Read(r.CONFIG)]))]
    for queue, offers in enumerate(kinds.honest[: len(profile.sizes)]):
        if offers is not None:
            wait = Wait((queue,) if queue in kinds.answered else ())
            groups.append(st.builds(_sent, st.lists(offers, min_size=1, max_size=3), st.just(wait)))

    def case(parts: tuple[Start, list[Steps], Start | None, list[Steps]]) -> list[Step]:
        start, first, again, second = parts
        steps = [start, *_session(profile), *_flat(first)]
        steps += [again, *_session(profile), *_flat(second)] if again else []
        direct = not all(step.features & INDIRECT_DESC for step in (start, again) if step)
        return [_directly(step) if direct and isinstance(step, Offer) else step for step in steps]

    some = st.lists(st.one_of(groups), max_size=_GROUPS)
    return st.tuples(starts(profile), some, st.one_of(st.none(), starts(profile)), some).map(case)


def _sent(offers: Sequence[Offer], wait: Wait) -> Steps:
    return (*offers, Notify(offers[0].queue), wait)


def _session(profile: Profile) -> Steps:
    """What must come first."""
    return (Offer(1, (FUSE_INIT,), (4096,)), Notify(1), Wait((1,))) if profile.device_id == _FS else ()


def _directly(offer: Offer) -> Offer:
    return Offer(offer.queue, offer.readable, offer.writable)


def _flat(groups: list[Steps]) -> list[Step]:
    return [step for group in groups for step in group]


# ---- hostile drivers ---------------------------------------------------------------------


def hostile_cases(profile: Profile) -> st.SearchStrategy[list[Step]]:
    """A driver that does anything, though it starts the device properly as a rule."""
    groups = [
        _offered(profile),
        _offered(profile),
        _described(profile),
        _steps(_registers(profile)),
        _steps(_memory(profile)),
        _steps(_jumps(profile)),
        _steps(starts(profile)),
        _steps(st.builds(Notify, st.integers(0, len(profile.sizes)))),
        _steps(st.just(Wait())),
    ]
    first = st.one_of(_steps(starts(profile)), _steps(starts(profile)), _steps(starts(profile)), st.just(()))
    return st.builds(lambda first, rest: [*first, *_flat(rest)], first, st.lists(st.one_of(groups), max_size=_GROUPS))


def _steps(one: st.SearchStrategy[Step]) -> st.SearchStrategy[Steps]:
    return one.map(lambda step: (step,))


def _queues(profile: Profile) -> st.SearchStrategy[int]:
    return st.integers(0, len(profile.sizes) - 1)


def _offered(profile: Profile) -> st.SearchStrategy[Steps]:
    """Chains that are well formed, with any contents, as a rule followed by a notification."""

    def make(queue: int, parts: tuple[tuple[bytes, ...], tuple[int, ...]], indirect: bool, notify: int) -> Steps:
        after: Steps = ((Notify(queue), Wait()), (Notify(queue),), ())[notify]
        return (Offer(queue, *parts, indirect), *after)

    kinds = payloads(profile)
    hostile = st.builds(make, _queues(profile), kinds.hostile, st.booleans(), st.sampled_from([0, 0, 0, 1, 2]))
    honest = [
        offers.map(lambda offer: (offer, Notify(offer.queue), Wait())) for offers in kinds.honest if offers is not None
    ]
    return st.one_of(hostile, *honest)


def _addresses(profile: Profile) -> st.SearchStrategy[int]:
    """Guest-physical addresses: buffers, rings, ends of RAM, and far outside."""
    bases = [queue_base(queue) for queue in range(len(profile.sizes))]
    inside = [base + at for base in bases for at in (BUFFERS, BUFFERS + 0x1000, BUFFERS + 0x8000)]
    rings = [base + at for base in bases for at in (DESC, AVAIL, USED, TABLES, TABLES + TABLE_BYTES)]
    edges = [
        0,
        4096,
        ARENA - 1,
        RAM - 1,
        RAM - 16,
        RAM,
        RAM + 1,
        0xC000_0000,
        r.BASE,
        2**32 - 1,
        2**32,
        2**64 - 1,
        2**63,
    ]
    return st.one_of(st.sampled_from(inside), st.sampled_from(rings), st.sampled_from(edges), st.integers(0, 2**64 - 1))


def _described(profile: Profile) -> st.SearchStrategy[Steps]:
    """A chain, or a loop, of up to four descriptors that say anything."""
    lengths = st.one_of(
        st.sampled_from([0, 1, 8, 15, 16, 32, 4096, 0x1_0000, RAM, 2**31, 2**32 - 1]), st.integers(0, 300)
    )
    flags = st.one_of(st.sampled_from([0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT]), U16)
    following = st.one_of(st.integers(0, 4), U16)
    tables = st.one_of(st.none(), st.none(), st.integers(0, 3))
    fields = st.tuples(_addresses(profile), lengths, flags, following, tables)

    def make(queue: int, rows: list[tuple[int, int, int, int, int | None]], heads: list[int], notify: bool) -> Steps:
        steps: list[Step] = [Describe(queue, index, *row) for index, row in enumerate(rows)]
        steps += [Expose(queue, head) for head in heads]
        return (*steps, Notify(queue), Wait()) if notify else tuple(steps)

    heads = st.lists(st.one_of(st.just(0), st.integers(0, 8), U16), max_size=2)
    return st.builds(make, _queues(profile), st.lists(fields, max_size=4), heads, st.booleans())


def _registers(profile: Profile) -> st.SearchStrategy[Step]:
    known = sorted({*r.NAMES} - {r.QUEUE_NOTIFY})
    offsets = st.one_of(st.sampled_from(known), st.integers(0, 0x7F).map(lambda at: at * 4))
    values = st.one_of(
        st.sampled_from([0, 1, 2, 3, 7, 8, 11, 15, 64, 128, 256, 257, 0x1_0000, 2**31, 2**32 - 1]),
        st.sampled_from([ARENA + at for at in (0, DESC, AVAIL, USED, QUEUE_BYTES + DESC)]),
        st.integers(0, 2**32 - 1),
    )
    ready = st.builds(Write, st.just(r.QUEUE_READY), st.integers(0, 1))
    selected = st.builds(Write, st.just(r.QUEUE_SEL), st.integers(0, len(profile.sizes)))
    status = st.builds(Write, st.just(r.STATUS), st.sampled_from([0, 0, 1, 3, 11, 15, 128]))
    reads = st.builds(Read, st.one_of(st.sampled_from(known), st.integers(0, 63).map(lambda at: r.CONFIG + at * 4)))
    return st.one_of(ready, selected, status, st.builds(Write, offsets, values), reads)


def _memory(profile: Profile) -> st.SearchStrategy[Step]:
    """Bytes in rings, tables or buffers."""
    at = st.one_of(
        st.integers(DESC, DESC + 128),
        st.integers(AVAIL, AVAIL + 24),
        st.integers(USED, USED + 70),
        st.integers(TABLES, TABLES + 256),
        st.integers(BUFFERS, BUFFERS + 200),
    )
    data = st.binary(min_size=1, max_size=8)
    return st.builds(lambda queue, offset, data: Store(queue_base(queue) + offset, data), _queues(profile), at, data)


def _jumps(profile: Profile) -> st.SearchStrategy[Step]:
    by = st.one_of(st.integers(1, 9), st.sampled_from([256, 257, 0x7FFF, 0x8000, 0xFFFF]))
    return st.builds(Jump, _queues(profile), by)
