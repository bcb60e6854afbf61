"""The filters as C, for `native/sandbox.c`."""

from __future__ import annotations

from pyvmm.host.sandbox.bpf import program, variants
from pyvmm.host.sandbox.calls import NUMBERS
from pyvmm.host.sandbox.policy import FEATURES, IOCTLS, THREADS, VARIABLES


def filters() -> str:
    """The text of `filters.inc`."""
    lines = ["/* Made of pyvmm/host/sandbox/policy.py. */"]
    lines += [f'_Static_assert(SYS_{name} == {number}, "calls.py");' for name, number in NUMBERS.items()]
    lines += [f'_Static_assert({name} == {number}u, "policy.py");' for name, number in IOCTLS.items()]
    table = []
    for thread in THREADS:
        made = []
        for index, features in enumerate(variants(thread)):
            code = program(thread, features)
            name = f"{thread}_{index}"
            rows = ",".join(
                f"{{{op},{true},{false},{value if isinstance(value, int) else 0}u}}" for op, true, false, value in code
            )
            patches = [(at, insn[3]) for at, insn in enumerate(code) if isinstance(insn[3], str)]
            pairs = ",".join(f"{{{at},{VARIABLES.index(str(value))}}}" for at, value in patches)
            lines.append(f"static const struct sock_filter {name}_code[] = {{{rows}}};")
            lines.append(f"static const struct patch {name}_patches[] = {{{pairs or '{0,0}'}}};")
            made.append(f"{{{name}_code, {name}_patches, {len(code)}, {len(patches)}}}")
        table.append(f"    {{{', '.join(made)}}},")
    lines.append("static const uint32_t features_of[SANDBOX_THREADS][FEATURES_MAX] = {")
    bits = (", ".join(f"SANDBOX_{name.upper()}" for name in names) for names in FEATURES.values())
    lines += [*(f"    {{{text or 0}}}," for text in bits), "};"]
    most = max(1 << len(names) for names in FEATURES.values())
    longest = max(len(program(thread, features)) for thread in THREADS for features in variants(thread))
    lines.append(f"#define FILTER_MAX {longest}")
    lines.append(f"static const struct filter filters[SANDBOX_THREADS][{most}] = {{")
    return "\n".join([*lines, *table, "};", ""])
