//! Cards for servers. Most of those with GDDR keep a sixteenth of their memory for ECC.

use super::row::{Row, f16_only, memory, row, tensor};

const LIGHTNING: &str = "vendor datasheet, as transcribed in Lightning's fabric/utilities/throughput.py";
const SPECS: &str = "vendor datasheet, as transcribed in winston-zhang-orz/gpu-specs specs.md";
const MAP: &str = "vendor datasheet, as transcribed in lamonoai/gpumap nvidia/GPU.md (dense, f32 accumulate)";
const TITAN: &str = "vendor datasheet, as transcribed in torchtitan's tools/utils.py; the rest from lamonoai/gpumap nvidia/GPU.md";
const AMD: &str = "vendor datasheet, as transcribed in torchtitan's tools/utils.py; bandwidth: stas00/ml-engineering; f32 from memory, not re-read";

const AMPERE: Option<(u8, u8)> = Some((8, 0));
const SMALL_AMPERE: Option<(u8, u8)> = Some((8, 6));
const ADA: Option<(u8, u8)> = Some((8, 9));
const HOPPER: Option<(u8, u8)> = Some((9, 0));

pub(super) const ROWS: &[Row] = &[
    row(
        ("t4", "T4"),
        &[],
        memory(16, 14_912, 300.0),
        f16_only(65.0, 8.1),
        Some((7, 5)),
        (LIGHTNING, "14,912 MiB: fitcheck-llm; 14.56 GiB: facebookresearch/tribev2 #28"),
    ),
    row(
        ("v100-16", "V100 16 GB"),
        &["v100", "v100 sxm2", "v100 sxm2 16gb", "v100 pcie 16gb"],
        memory(16, 16_160, 900.0),
        f16_only(125.0, 15.7),
        Some((7, 0)),
        (LIGHTNING, "16,160 MiB: Hugging Face, Model training anatomy"),
    ),
    row(
        ("v100-32", "V100 32 GB"),
        &["v100 sxm2 32gb", "v100 sxm3 32gb", "v100 pcie 32gb"],
        memory(32, 32_501, 900.0),
        f16_only(125.0, 15.7),
        Some((7, 0)),
        (LIGHTNING, "31.74 GiB: liucongg/ChatGLM-Finetuning #73"),
    ),
    row(
        ("a10", "A10"),
        &[],
        memory(24, 22_517, 600.0),
        tensor(125.0, 31.2, 62.5),
        SMALL_AMPERE,
        (SPECS, "21.99 GiB: zai-org/CogVLM #236"),
    ),
    row(
        ("a10g", "A10G"),
        &[],
        memory(24, 22_661, 600.0),
        tensor(70.0, 35.0, 35.0),
        SMALL_AMPERE,
        (
            "Amazon EC2 G5 data sheet, from memory, not re-read; the A10's 125 TFLOPS are not those of the A10G",
            "22.13 GiB: RWKV-LoRA #32",
        ),
    ),
    row(
        ("a30", "A30"),
        &[],
        memory(24, 24_094, 933.0),
        tensor(165.0, 10.3, 82.6),
        AMPERE,
        (MAP, "23.53 GiB: google/RB-Modulation #5"),
    ),
    row(
        ("a40", "A40"),
        &[],
        memory(48, 45_465, 696.0),
        tensor(149.7, 37.4, 74.8),
        SMALL_AMPERE,
        ("NVIDIA A40 datasheet, as quoted by a cuda-benchmark README and ecer.com", "not read: as the L40"),
    ),
    row(
        ("l4", "L4"),
        &[],
        memory(24, 22_517, 300.0),
        tensor(121.0, 30.3, 60.0),
        ADA,
        (
            SPECS,
            "nvidia-smi 23,034 MiB: modal-labs/modal-client #2797; CUDA's not read: as the A10 with 23,028 MiB",
        ),
    ),
    row(
        ("l40", "L40"),
        &[],
        memory(48, 45_465, 864.0),
        tensor(181.0, 90.5, 90.5),
        ADA,
        (MAP, "44.40 GiB: QwenLM/Qwen3-VL #2097"),
    ),
    row(
        ("l40s", "L40S"),
        &[],
        memory(48, 45_598, 864.0),
        tensor(362.0, 91.6, 183.0),
        ADA,
        (SPECS, "44.53 GiB: Wan-Video/Wan2.1 #205"),
    ),
    row(
        ("a100-40", "A100 40 GB"),
        &["a100", "a100 sxm4 40gb", "a100 pcie 40gb", "a100 sxm 40", "a100 40gb pcie", "a100 40gb sxm"],
        memory(40, 40_339, 1_555.0),
        tensor(312.0, 19.5, 156.0),
        AMPERE,
        (SPECS, "40,339 MiB: results.json of models by PrunaAI; 39.50 GiB: TianheWu/CoSeR #10"),
    ),
    row(
        ("a100-80-pcie", "A100 80 GB PCIe"),
        &["a100 pcie 80gb", "a100 80gb pcie", "a100 pcie"],
        memory(80, 81_049, 1_935.0),
        tensor(312.0, 19.5, 156.0),
        AMPERE,
        (SPECS, "not read: as the SXM card"),
    ),
    row(
        ("a100-80", "A100 80 GB"),
        &["a100 sxm4 80gb", "a100 sxm 80", "a100 80gb sxm", "a100 sxm", "a100 sxm4"],
        memory(80, 81_049, 2_039.0),
        tensor(312.0, 19.5, 156.0),
        AMPERE,
        (SPECS, "79.15 GiB: LitGPT oom.md; 79.25 GiB: HiDream-ai/VAREdit #6"),
    ),
    row(
        ("h100-pcie", "H100 PCIe"),
        &["h100", "h100 80gb pcie", "h100 pcie 80gb", "h100 hbm2e"],
        memory(80, 80_998, 2_000.0),
        tensor(756.0, 51.2, 378.0),
        HOPPER,
        (TITAN, "79.1 GiB: facebookresearch/metaseq #314"),
    ),
    row(
        ("h100-sxm", "H100 SXM"),
        &["h100 sxm5", "h100 80gb hbm3", "h100 hbm3", "h100 sxm5 80gb", "h100 80gb sxm"],
        memory(80, 80_998, 3_350.0),
        tensor(989.0, 67.0, 494.0),
        HOPPER,
        (TITAN, "79.1 GiB: facebookresearch/metaseq #314"),
    ),
    row(
        ("h100-nvl", "H100 NVL"),
        &[],
        memory(94, 95_334, 3_938.0),
        tensor(835.0, 60.0, 417.0),
        HOPPER,
        (TITAN, "93.1 GiB: from memory, not re-read"),
    ),
    row(
        ("h200", "H200 SXM"),
        &["h200 sxm", "h200 141gb hbm3e"],
        memory(141, 142_336, 4_800.0),
        tensor(989.0, 67.0, 494.0),
        HOPPER,
        (TITAN, "139 GiB: from memory, not re-read"),
    ),
    row(
        ("gh200", "GH200 96 GB"),
        &["gh200 96gb", "gh200 480gb", "gh200 96gb hbm3"],
        memory(96, 96_256, 4_000.0),
        tensor(989.0, 67.0, 494.0),
        HOPPER,
        ("stas00/ml-engineering; the chip is that of the H100 SXM", "94 GiB: from memory, not re-read"),
    ),
    row(
        ("b200", "B200"),
        &["b200 sxm", "b200 180gb"],
        memory(192, 182_630, 7_672.0),
        tensor(2_250.0, 75.0, 1_100.0),
        Some((10, 0)),
        (
            "torchtitan's tools/utils.py; bandwidth by bus and clock: pytorch/ao #4002; f32 from memory, not re-read",
            "178.35 GiB: pytorch/ao #4002",
        ),
    ),
    row(
        ("mi250x", "MI250X, one of its two dies"),
        &[],
        memory(64, 64_880, 1_638.0),
        tensor(191.5, 47.9, 47.9),
        None,
        (AMD, "not read: 1 % below the box"),
    ),
    row(
        ("mi300x", "MI300X"),
        &[],
        memory(192, 194_560, 5_300.0),
        tensor(1_307.0, 163.4, 653.7),
        None,
        (AMD, "not read: 1 % below the box"),
    ),
];
