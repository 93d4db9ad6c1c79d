//! Cards for desktops. Rates with sums in f32, which run at half speed on `GeForce`.

use super::row::{Row, f16_only, geforce, memory, row};

const TURING: &str = "Turing architecture whitepaper, from memory, not re-read; its 44.9 TFLOPS in use: bewantbe/busy-gemm-benchmark";
const AMPERE: &str =
    "Ampere GA102 whitepaper v2, as transcribed in lamonoai/gpumap nvidia/GPU.md (dense, f32 accumulate)";
const AMPERE_BOOST: &str = "Ampere GA102 whitepaper v2 by SMs and boost clock; not re-read";
const ADA: &str =
    "Ada architecture whitepaper, as transcribed in lamonoai/gpumap nvidia/GPU.md (dense, f32 accumulate)";
const ADA_HALF: &str = "VladislavDuma/gpu_specs README, whose f16 sums are halved for f32 sums";
const BLACKWELL: &str =
    "RTX Blackwell whitepaper, as transcribed in lamonoai/gpumap nvidia/GPU.md (dense, f32 accumulate)";
/// `GeForce` cards whose total was read show 1.5 to 2.8 % less than the box.
const SIBLINGS: &str = "not read: 2.5 % below the box, as RTX 3060, 3070, 3080, 4090 and 5090";
const BLACKWELL_SIBLING: &str = "not read: as the RTX 5060 Ti 16 GB";

const AMPERE_CC: Option<(u8, u8)> = Some((8, 6));
const ADA_CC: Option<(u8, u8)> = Some((8, 9));
const BLACKWELL_CC: Option<(u8, u8)> = Some((12, 0));

pub(super) const ROWS: &[Row] = &[
    row(
        ("rtx-2080-ti", "RTX 2080 Ti"),
        &["2080 ti"],
        memory(11, 10_989, 616.0),
        f16_only(53.8, 13.4),
        Some((7, 5)),
        (TURING, "10,989 MiB: karfly/learnable-triangulation-pytorch #80"),
    ),
    row(
        ("rtx-3060-12", "RTX 3060 12 GB"),
        &["rtx 3060", "3060"],
        memory(12, 12_032, 360.0),
        geforce(25.5),
        AMPERE_CC,
        (AMPERE_BOOST, "11.75 GiB: smy20011/dreambooth-gui #78"),
    ),
    row(
        ("rtx-3070", "RTX 3070"),
        &[],
        memory(8, 7_966, 448.0),
        geforce(40.6),
        AMPERE_CC,
        (AMPERE, "7.78 GiB: akshitac8/OW-DETR #46"),
    ),
    row(
        ("rtx-3080-10", "RTX 3080 10 GB"),
        &["rtx 3080", "3080"],
        memory(10, 10_014, 760.0),
        geforce(59.5),
        AMPERE_CC,
        (AMPERE, "9.78 GiB: zai-org/CogVideo #34"),
    ),
    row(
        ("rtx-3090", "RTX 3090"),
        &[],
        memory(24, 24_064, 936.0),
        geforce(71.2),
        AMPERE_CC,
        ("Ampere GA102 whitepaper v2, appendix A; not re-read", "23.50 GiB: XChenZ/havatar #6"),
    ),
    row(
        ("rtx-3090-ti", "RTX 3090 Ti"),
        &[],
        memory(24, 24_064, 1_008.0),
        geforce(80.0),
        AMPERE_CC,
        (AMPERE, "not read: as the RTX 3090"),
    ),
    row(
        ("rtx-4060-ti-16", "RTX 4060 Ti 16 GB"),
        &["rtx 4060 ti"],
        memory(16, 15_974, 288.0),
        geforce(44.1),
        ADA_CC,
        (ADA_HALF, SIBLINGS),
    ),
    row(("rtx-4070", "RTX 4070"), &[], memory(12, 11_980, 504.0), geforce(58.3), ADA_CC, (ADA, SIBLINGS)),
    row(
        ("rtx-4070-ti", "RTX 4070 Ti"),
        &[],
        memory(12, 11_980, 504.0),
        geforce(80.2),
        ADA_CC,
        (ADA, SIBLINGS),
    ),
    row(
        ("rtx-4070-ti-super", "RTX 4070 Ti SUPER"),
        &[],
        memory(16, 15_974, 672.0),
        geforce(88.2),
        ADA_CC,
        (ADA_HALF, SIBLINGS),
    ),
    row(("rtx-4080", "RTX 4080"), &[], memory(16, 15_974, 717.0), geforce(97.5), ADA_CC, (ADA, SIBLINGS)),
    row(
        ("rtx-4080-super", "RTX 4080 SUPER"),
        &[],
        memory(16, 15_974, 736.0),
        geforce(104.4),
        ADA_CC,
        (ADA_HALF, SIBLINGS),
    ),
    row(
        ("rtx-4090", "RTX 4090"),
        &[],
        memory(24, 24_207, 1_008.0),
        geforce(165.2),
        ADA_CC,
        (ADA, "23.64 GiB: 3DTopia/Phidias-Diffusion #8; 23.65 and 23.68 were seen too"),
    ),
    row(
        ("rtx-5060-ti-16", "RTX 5060 Ti 16 GB"),
        &["rtx 5060 ti"],
        memory(16, 15_816, 448.0),
        geforce(47.4),
        BLACKWELL_CC,
        (
            "36 SMs at 2.57 GHz, 47.0 TFLOPS measured: QuantumDrizzy/BLACKWALL; bandwidth from memory, not re-read",
            "15,816 MiB: Luce-Org/lucebox #407",
        ),
    ),
    row(
        ("rtx-5070", "RTX 5070"),
        &[],
        memory(12, 11_862, 672.0),
        geforce(61.7),
        BLACKWELL_CC,
        (BLACKWELL, "not read: 3.5 % below the box, as the RTX 5060 Ti"),
    ),
    row(
        ("rtx-5070-ti", "RTX 5070 Ti"),
        &[],
        memory(16, 15_816, 896.0),
        geforce(87.9),
        BLACKWELL_CC,
        (BLACKWELL, BLACKWELL_SIBLING),
    ),
    row(
        ("rtx-5080", "RTX 5080"),
        &[],
        memory(16, 15_816, 960.0),
        geforce(112.6),
        BLACKWELL_CC,
        (BLACKWELL, BLACKWELL_SIBLING),
    ),
    row(
        ("rtx-5090", "RTX 5090"),
        &[],
        memory(32, 32_112, 1_792.0),
        geforce(209.5),
        BLACKWELL_CC,
        (BLACKWELL, "31.36 GiB: TrajectoryCrafter/TrajectoryCrafter #20"),
    ),
];
