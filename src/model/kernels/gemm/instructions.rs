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
        let all = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];
        all.into_iter().filter(|one| *one <= Self::detected()).collect()
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "portable" => Some(Self::Portable),
            "avx2" => Some(Self::Avx2),
            "avx512" => Some(Self::Avx512),
            "avx512bf16" => Some(Self::Avx512Bf16),
            _ => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn detected() -> Self {
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

    #[cfg(not(target_arch = "x86_64"))]
    fn detected() -> Self {
        Self::Portable
    }
}
