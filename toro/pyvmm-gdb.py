"""GDB's command `toro-threads`: Toro's threads, where GDB's own are the vCPUs.

    gdb -x pyvmm-gdb.py program.elf

The image must have been built with `pyvmm build -g`.
"""

import gdb

_FRAMES_MAX = 30
_LAST = "U_$CORETHREADS_$$_LASTMADE"  # the head of the list of threads' records
_REGISTERS = 6  # words that SwitchThread leaves below RBP: MXCSR with the x87 control word, R15 to R12, RBX


def _word(address):
    """Eight bytes of the guest's memory."""
    return int.from_bytes(gdb.selected_inferior().read_memory(address, 8), "little")


def _place(pc):
    """A line about an instruction."""
    symbol = gdb.block_for_pc(pc)
    while symbol and not symbol.function:
        symbol = symbol.superblock
    line = gdb.find_pc_line(pc)
    where = f" at {line.symtab.filename}:{line.line}" if line.symtab else ""
    return f"{pc:#x} in {symbol.function.print_name if symbol else '??'}{where}"


def _frames(pc, frame):
    """Program counters of a thread, by its chain of frame pointers."""
    for _ in range(_FRAMES_MAX):
        yield pc
        try:
            pc, above = _word(frame + 8), _word(frame)
        except gdb.MemoryError:
            return
        if not pc or above <= frame:
            return
        frame = above


def _field(record, name):
    """Where a field of a record is."""
    return int(record.address) + next(field.bitpos for field in record.type.fields() if field.name == name) // 8


def _name(thread):
    """A thread's name, a ShortString."""
    data = bytes(gdb.selected_inferior().read_memory(_field(thread, "Name"), 32))
    return data[1 : data[0] + 1].decode(errors="replace")


def _threads():
    """The records of threads that have not ended, in the order in which they were made."""
    kind = gdb.lookup_type("struct TTHREAD").pointer()
    found, at = [], _word(int(gdb.parse_and_eval(f"(long) &'{_LAST}'")))
    while at:
        thread = gdb.Value(at).cast(kind).dereference()
        if int(thread["ThreadID"]):
            found.append(thread)
        at = int(thread["NextMade"])
    return sorted(found, key=lambda thread: (int(thread["Number"]), _core(thread)))


def _core(thread):
    """The core that a thread belongs to."""
    return int(thread["CPU"].cast(gdb.lookup_type("struct TCPU").pointer())["ApicID"])


class ToroThreads(gdb.Command):
    """toro-threads: lists the threads of a Toro program, with their backtraces."""

    def __init__(self):
        super().__init__("toro-threads", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        """Prints them."""
        selected, language = gdb.selected_thread(), gdb.parameter("language")
        gdb.execute("set language c", to_string=True)  # by which records are found without a scope
        try:
            for thread in _threads():
                _print(thread)
        finally:
            gdb.execute(f"set language {language}", to_string=True)
            if selected:
                selected.switch()


def _print(thread):
    core, state, name = _core(thread), str(thread["State"]).removeprefix("ts").lower(), _name(thread)
    print(f"thread {int(thread['Number'])}{name and f' ({name})'}: {state}, core {core}")
    vcpu = next((each for each in gdb.selected_inferior().threads() if each.num == core + 1), None)
    if state == "running" and vcpu:
        vcpu.switch()
        frame, counters = gdb.newest_frame(), []
        while frame and len(counters) < _FRAMES_MAX:
            counters.append(frame.pc())
            frame = frame.older()
    else:
        stack = int(thread["StackPointer"]) + 8 * _REGISTERS
        counters = _frames(_word(stack + 8), _word(stack))
    for number, counter in enumerate(counters):
        print(f"  #{number} {_place(counter)}")


ToroThreads()
