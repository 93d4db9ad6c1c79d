//! A card described in a study file, checked.

use super::{Gpu, GpuError, Kind, Rates, Sources};
use crate::space::GpuSection;
use crate::units::Bytes;

impl Gpu {
    /// The card that `[gpu.NAME]` of a study file describes.
    ///
    /// # Errors
    /// A size without a unit, a rate that is not above zero, or no compute capability such as 8.9.
    pub fn from_section(name: &str, section: &GpuSection) -> Result<Self, GpuError> {
        let check = Check(name);
        let visible = check.size("memory", &section.memory)?;
        if visible == Bytes(0) {
            return check.wrong("memory", &section.memory, "a card has some memory");
        }
        let bf16 = check.optional_rate("bf16_tflops", section.bf16_tflops)?;
        let f32 = check.rate("f32_tflops", section.f32_tflops)?;
        let f16 = check.optional_rate("f16_tflops", section.f16_tflops)?.or(bf16).unwrap_or(f32);
        let context = section.context.as_deref().map(|text| check.size("context", text)).transpose()?;
        let capability = section.compute_capability.as_deref();
        let source = || "the study file".to_owned();
        Ok(Self {
            name: name.to_owned(),
            title: section.title.clone().unwrap_or_else(|| name.to_owned()),
            kind: Kind::Own,
            sticker_gb: sticker(visible),
            visible,
            bandwidth_gb_per_s: check.rate("bandwidth_gb_per_s", section.bandwidth_gb_per_s)?,
            rates: Rates { bf16_tflops: bf16, f16_tflops: f16, f32_tflops: f32, tf32_tflops: None },
            compute_capability: capability.map(|text| check.capability(text)).transpose()?,
            context,
            sources: Sources { rates: source(), visible: source() },
        })
    }
}

/// Memory on the box, about: the next whole number.
fn sticker(visible: Bytes) -> u32 {
    u32::try_from(visible.0.div_ceil(1 << 30)).unwrap_or(u32::MAX)
}

/// The section whose values are checked.
struct Check<'a>(&'a str);

impl Check<'_> {
    fn wrong<T>(&self, key: &'static str, value: &str, right: &'static str) -> Result<T, GpuError> {
        Err(GpuError::Section { name: self.0.to_owned(), key, value: value.to_owned(), right })
    }

    fn size(&self, key: &'static str, text: &str) -> Result<Bytes, GpuError> {
        let right = "write a number and a unit, such as `23.5GiB` or `600MiB`";
        text.parse().or_else(|_| self.wrong(key, &format!("`{text}`"), right))
    }

    fn rate(&self, key: &'static str, value: f64) -> Result<f64, GpuError> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        self.wrong(key, &value.to_string(), "a rate is a number above 0; data sheets have it")
    }

    fn optional_rate(&self, key: &'static str, value: Option<f64>) -> Result<Option<f64>, GpuError> {
        value.map(|value| self.rate(key, value)).transpose()
    }

    fn capability(&self, text: &str) -> Result<(u8, u8), GpuError> {
        let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let right = "write major and minor, such as \"8.9\"";
        parts.map_or_else(|| self.wrong("compute_capability", &format!("`{text}`"), right), Ok)
    }
}
