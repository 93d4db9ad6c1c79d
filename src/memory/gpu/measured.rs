//! What large products in f16 or bf16 really reached, where somebody measured it.

/// Name in the table, 10¹² operations in a second, source.
pub(super) const MEASURED: &[(&str, f64, &str)] = &[
    // The board holds its 70 W by lowering its clock.
    ("t4", 24.0, "NVIDIA developer forum, topic 264462, cuBLAS, 4096 cubed"),
    ("rtx-2080-ti", 44.9, "bewantbe/busy-gemm-benchmark"),
    ("rtx-3090-ti", 66.0, "bewantbe/busy-gemm-benchmark"),
    ("rtx-5060-ti-16", 47.0, "QuantumDrizzy/BLACKWALL, cuBLAS, 8192 cubed"),
    ("a100-40", 246.3, "a table of PyTorch products contributed by zzc0208"),
    ("b200", 1_696.0, "a table of PyTorch products contributed by zzc0208"),
];

/// That of the card of this name.
#[must_use]
pub fn measured_tflops(name: &str) -> Option<f64> {
    MEASURED.iter().find(|(of, ..)| *of == name).map(|(_, tflops, _)| *tflops)
}
