"""What a bug is: which text is replaced by which, and what must be reported.

The sources stay as they are; build.py compiles a copy. test_seeded_bugs.py builds and runs them. A bug whose text is no
longer found in its file fails there: adapt it to the new text.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuda_emulator.build import Edit

WRONG_NUMBERS = ""  # for faults that break no rule of memory or of threads: the result differs


@dataclass(frozen=True)
class Bug:
    edit: Edit
    call: str  # one of calls.py
    kernel: str  # in whose launch the report comes up
    report: str  # what it says, or WRONG_NUMBERS


BUGS: list[Bug] = []


def bug(
    name: str, source: str, call: str, kernel: str, report: str, find: str, replacement: str, file: str = ""
) -> None:
    """`file`, in kernels/cuda, is changed instead of the source when it is given."""
    source = f"ops/{source}_cuda.cu"
    BUGS.append(
        Bug(Edit(name, source, f"kernels/cuda/{file}" if file else source, find, replacement), call, kernel, report)
    )


def rounds() -> list[list[Bug]]:
    """What goes into one library: at most one bug of each source, and of all convolutions, as one call runs several of
    their kernels; those by warpgroups run alone but for the sums of a gradient, which come after a forward pass.
    Copies, which many calls need, are kept apart."""

    def with_others(b: Bug) -> bool:
        alone = b.edit.source == "ops/conv_wgmma_cuda.cu" and b.call != "gradient_sums_by_warpgroups"
        return b.edit.source.startswith("ops/conv_") and not alone

    def apart(a: Bug, b: Bug) -> bool:
        sources = a.edit.source, b.edit.source
        return sources[0] == sources[1] or "ops/copy_cuda.cu" in sources or (with_others(a) and with_others(b))

    result: list[list[Bug]] = []
    for b in BUGS:
        for members in result:
            if not any(apart(m, b) for m in members):
                members.append(b)
                break
        else:
            result.append([b])
    return result
