"""What the rows of the training benchmark are; both the driver and the PyTorch side read it here.

Our side holds the same numbers in `benches/training_step.rs`; the driver compares what each side
says it ran, so a difference between the two files is an error, not a wrong figure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

MIB = 1 << 20
GIB = 1 << 30

BF16_PRODUCTS = {"avx512_bf16", "amx_bf16"}
"""Instruction sets that multiply bf16."""

THREADS = 2
LEARNING_RATE = 1e-4
BETAS = (0.9, 0.99)
EPSILON = 1e-8
LORA_RANK = 16
LORA_ALPHA = 32


@dataclass(frozen=True)
class Row:
    """One training task: a Llama of width 576 and the batches it is trained on."""

    name: str
    what: str
    layers: int
    vocabulary: int
    micro_batch: int
    sequence_length: int
    steps: int
    """Steps a measured process makes; the first is warm-up and not counted."""
    rope_theta: float = 1e4
    lora: bool = False
    mixed_precision: bool = False


ROWS = {
    row.name: row
    for row in (
        Row("a", "f32, 8 layers, 8192 tokens, b=4 s=128", 8, 8192, 4, 128, 9),
        Row("b", "a at s=512", 8, 8192, 4, 512, 6),
        Row("c", "a at vocabulary 49152", 8, 49152, 4, 128, 9),
        Row("d-full", "SmolLM2-135M, b=2 s=256", 30, 49152, 2, 256, 5, 1e5),
        Row("d-lora", "d-full by LoRA r=16 on all linear layers", 30, 49152, 2, 256, 5, 1e5, lora=True),
        Row("bf16", "a in mixed precision", 8, 8192, 4, 128, 9, mixed_precision=True),
    )
}


@dataclass(frozen=True)
class Case:
    """One line of the table: a row, and the environment that each side runs it in."""

    name: str
    row: Row
    ours: dict[str, str] = field(default_factory=dict)
    peer: dict[str, str] = field(default_factory=dict)
    has_largest: bool = True
    """Whether the largest micro-batch is looked for."""


AVX512_TWIN = Case(
    "bf16-no-avx512bf16", ROWS["bf16"], {"DIAPASON_CPU": "avx512"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
)
"""Row bf16 with both sides held to AVX-512 without its bf16 products and without AMX.

`ONEDNN_MAX_CPU_ISA` is what decides in PyTorch: it takes a 2048³ bf16 product on such a CPU from
215 to 40 GFLOP/s; `ATEN_CPU_CAPABILITY` changes nothing there, oneDNN looks for itself.
"""

AVX2_TWIN = Case(
    "bf16-avx2", replace(ROWS["bf16"], steps=3), {"DIAPASON_CPU": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    has_largest=False,
)
"""Row bf16 with both sides held to AVX2, as on most desktop processors.

oneDNN has no bf16 products there. A step takes PyTorch 17 s, and 16 s with oneDNN switched off, which is what it does
on a processor that has no more; so few steps, and no search for the largest micro-batch, which would take hours.
"""


def cases(names: list[str], instructions: set[str]) -> list[Case]:
    """The cases of the named rows, in the order named; bf16 brings its twins where the processor can do more."""
    chosen: list[Case] = []
    for name in names:
        chosen.append(Case(name, ROWS[name]))
        if name == "bf16" and BF16_PRODUCTS & instructions:
            chosen.append(AVX512_TWIN)
        if name == "bf16" and "avx512f" in instructions:
            chosen.append(AVX2_TWIN)
    return chosen
