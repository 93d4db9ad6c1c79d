//! `[gpu.NAME]`: a card that the program's own table does not have.

use serde::{Deserialize, Serialize};

/// A card as typed in a study file; `memory::Gpu::from_section` checks it.
///
/// # Example
/// ```toml
/// [gpu.my-card]
/// memory = "23.5GiB"
/// bandwidth_gb_per_s = 900
/// f32_tflops = 40
/// bf16_tflops = 160
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSection {
    /// Name in tables; the section's own where nothing is said.
    #[serde(alias = "name")]
    pub title: Option<String>,
    /// What CUDA calls its total memory, such as `"23.5GiB"`: less than what is printed on the box.
    #[serde(alias = "visible_memory")]
    pub memory: String,
    /// Bytes that it reads or writes in a second, in units of 10⁹.
    #[serde(alias = "bandwidth")]
    pub bandwidth_gb_per_s: f64,
    /// Operations in a second outside of tensor cores, in units of 10¹².
    pub f32_tflops: f64,
    /// Dense products in bf16 with sums in f32, in units of 10¹²; absent where it has no bf16.
    pub bf16_tflops: Option<f64>,
    /// The same in f16; as fast as bf16 where nothing is said.
    pub f16_tflops: Option<f64>,
    /// What a process costs before it holds a tensor, such as `"600MiB"`.
    pub context: Option<String>,
    /// Compute capability, such as `"8.9"`.
    pub compute_capability: Option<String>,
}
