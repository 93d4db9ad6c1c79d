//! Cards for workstations: the chips of desktops, with sums in f32 at full speed.

use super::row::{Row, f16_only, memory, row, tensor};

const AMPERE: &str =
    "vendor datasheet, as transcribed in lamonoai/gpumap nvidia/GPU.md (dense, f32 accumulate)";
const ADA: &str = AMPERE;
/// RTX A4000: 2.4 % less than the box, A6000: 1.0 %, both without ECC.
const SIBLINGS: &str = "not read: 2.5 % below the box, as the RTX A4000";

const AMPERE_CC: Option<(u8, u8)> = Some((8, 6));
const ADA_CC: Option<(u8, u8)> = Some((8, 9));

pub(super) const ROWS: &[Row] = &[
    row(
        ("quadro-rtx-8000", "Quadro RTX 8000"),
        &["rtx 8000", "quadro 8000"],
        memory(48, 47_923, 672.0),
        f16_only(130.5, 16.3),
        Some((7, 5)),
        ("vendor datasheet, from memory, not re-read", SIBLINGS),
    ),
    row(
        ("rtx-a4000", "RTX A4000"),
        &[],
        memory(16, 15_984, 448.0),
        tensor(76.7, 19.2, 38.3),
        AMPERE_CC,
        (AMPERE, "15.61 GiB: DengKaiCQ/VGGT-Long #6"),
    ),
    row(
        ("rtx-a4500", "RTX A4500"),
        &[],
        memory(20, 19_968, 640.0),
        tensor(94.6, 23.7, 47.3),
        AMPERE_CC,
        (AMPERE, SIBLINGS),
    ),
    row(
        ("rtx-a5000", "RTX A5000"),
        &[],
        memory(24, 23_962, 768.0),
        tensor(111.1, 27.8, 55.6),
        AMPERE_CC,
        (AMPERE, SIBLINGS),
    ),
    row(
        ("rtx-a6000", "RTX A6000"),
        &[],
        memory(48, 48_670, 768.0),
        tensor(154.8, 38.7, 77.4),
        AMPERE_CC,
        (AMPERE, "47.53 GiB: black-forest-labs/flux2 #23"),
    ),
    row(
        ("rtx-4000-ada", "RTX 4000 Ada"),
        &["4000 ada"],
        memory(20, 19_968, 360.0),
        tensor(106.9, 26.7, 53.4),
        ADA_CC,
        (ADA, SIBLINGS),
    ),
    row(
        ("rtx-4500-ada", "RTX 4500 Ada"),
        &["4500 ada"],
        memory(24, 23_962, 432.0),
        tensor(158.6, 39.6, 79.3),
        ADA_CC,
        (ADA, SIBLINGS),
    ),
    row(
        ("rtx-5000-ada", "RTX 5000 Ada"),
        &["5000 ada"],
        memory(32, 31_948, 576.0),
        tensor(261.1, 65.3, 130.6),
        ADA_CC,
        (ADA, SIBLINGS),
    ),
    row(
        ("rtx-6000-ada", "RTX 6000 Ada"),
        &["6000 ada"],
        memory(48, 48_509, 960.0),
        tensor(364.2, 91.1, 182.1),
        ADA_CC,
        (
            ADA,
            "50,865,307,648 bytes: unslothai/unsloth-zoo #1053; 44.43 GiB with ECC: DINGYANB/MTVCrafter #21",
        ),
    ),
    row(
        ("rtx-pro-6000", "RTX PRO 6000 Blackwell"),
        &["rtx pro 6000 blackwell", "rtx pro 6000 blackwell workstation edition"],
        memory(96, 97_249, 1_792.0),
        tensor(503.8, 126.0, 251.9),
        Some((12, 0)),
        (
            "f32: huggingface/huggingface.js #1324; tensor rate four times that, as on the GB202 of the RTX Blackwell whitepaper; not re-read",
            "94.97 GiB: antirez/ds4 #431",
        ),
    ),
];
