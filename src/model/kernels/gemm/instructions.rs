//! Which vector instructions this processor has, found out once.

use std::sync::LazyLock;

/// Instruction sets the products are written for, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Instructions {
    /// What every processor of the target has.
    Portable,
    /// AVX2 and FMA: eight f32 a vector.
    Avx2,
    /// AVX-512F: sixteen f32 a vector.
    Avx512,
    /// AVX512-BF16 besides: products of bfloat16 pairs, summed in f32.
    Avx512Bf16,
}

/// Holds the products to fewer instructions than the processor has, to measure what those give.
const LIMIT: &str = "DIAPASON_CPU";

impl Instructions {
    /// The most this processor has, or what [`LIMIT`] says if that is less.
    pub(super) fn of_this_machine() -> Self {
        static FOUND: LazyLock<Instructions> = LazyLock::new(|| {
            let limit = std::env::var(LIMIT).ok().and_then(|name| Instructions::named(&name));
            let detected = Instructions::detected();
            limit.map_or(detected, |limit| limit.min(detected))
        });
        *FOUND
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|one| *one <= Self::detected()).collect()
    }

    const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The name by which [`LIMIT`] has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The most this processor has.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn detected() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if !avx2 {
            return Self::Portable;
        }
        match (is_x86_feature_detected!("avx512f"), is_x86_feature_detected!("avx512bf16")) {
            (true, true) => Self::Avx512Bf16,
            (true, false) => Self::Avx512,
            (false, _) => Self::Avx2,
        }
    }

    /// The most this processor has.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn detected() -> Self {
        Self::Portable
    }
}
