//! The vector instructions the tile kernel is made of, one implementation per instruction set.
#![expect(clippy::inline_always, reason = "a helper is compiled for the processor of the loop it stands in")]
#![expect(unsafe_code, reason = "vector instructions and raw loads; the trait says when they are sound")]

/// Multiply-and-add on vectors of f32 sums.
///
/// # Safety
/// The methods may be called only where the processor has the implementation's instructions, and
/// pointers must be valid for a whole vector; alignment is not needed.
pub(super) trait Simd {
    /// What is multiplied: an f32, or a pair of bfloat16.
    type Factor: Copy;
    /// A vector of factors, one per column.
    type Factors: Copy;
    /// A vector of f32 sums, one per column.
    type Sums: Copy;
    /// Columns of a vector.
    const LANES: usize;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Sums;
    /// Factors of neighbouring columns.
    unsafe fn load(factors: *const Self::Factor) -> Self::Factors;
    /// One factor for every column.
    unsafe fn splat(factor: Self::Factor) -> Self::Factors;
    /// `sums + a · b`.
    unsafe fn multiply_add(sums: Self::Sums, a: Self::Factors, b: Self::Factors) -> Self::Sums;
    /// Asks for the cache line of a value that will be read or written.
    unsafe fn prefetch(out: *const f32);
    /// `out = scale · sums`.
    unsafe fn store(out: *mut f32, sums: Self::Sums, scale: f32);
    /// `out += scale · sums`.
    unsafe fn add(out: *mut f32, sums: Self::Sums, scale: f32);
}

/// Plain Rust, vectorised by the compiler as well as the target allows.
pub(super) struct Portable;

impl Simd for Portable {
    type Factor = f32;
    type Factors = [f32; 4];
    type Sums = [f32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load(factors: *const f32) -> [f32; 4] {
        // SAFETY: the caller gives a pointer valid for four values.
        unsafe { factors.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat(factor: f32) -> [f32; 4] {
        [factor; 4]
    }

    #[inline(always)]
    unsafe fn multiply_add(sums: [f32; 4], a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| sums[i] + a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn store(out: *mut f32, sums: [f32; 4], scale: f32) {
        // SAFETY: the caller gives a pointer valid for four values.
        unsafe { out.cast::<[f32; 4]>().write_unaligned(sums.map(|sum| scale * sum)) }
    }

    #[inline(always)]
    unsafe fn add(out: *mut f32, sums: [f32; 4], scale: f32) {
        // SAFETY: as above.
        unsafe {
            let before = Self::load(out);
            Self::store(out, std::array::from_fn(|i| before[i] + scale * sums[i]), 1.0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64 as arch;
    use std::mem::transmute;

    use super::Simd;

    /// AVX2 and FMA: eight columns of f32.
    pub(crate) struct Avx2;
    /// AVX-512F: sixteen columns of f32.
    pub(crate) struct Avx512;
    /// AVX512-BF16: sixteen columns of pairs of bfloat16, the first of a pair in the low half.
    pub(crate) struct Avx512Bf16;

    // SAFETY of every block below: the trait's contract, handed on to the instruction unchanged.

    impl Simd for Avx2 {
        type Factor = f32;
        type Factors = arch::__m256;
        type Sums = arch::__m256;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> arch::__m256 {
            unsafe { arch::_mm256_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn load(factors: *const f32) -> arch::__m256 {
            unsafe { arch::_mm256_loadu_ps(factors) }
        }

        #[inline(always)]
        unsafe fn splat(factor: f32) -> arch::__m256 {
            unsafe { arch::_mm256_set1_ps(factor) }
        }

        #[inline(always)]
        unsafe fn multiply_add(sums: arch::__m256, a: arch::__m256, b: arch::__m256) -> arch::__m256 {
            unsafe { arch::_mm256_fmadd_ps(a, b, sums) }
        }

        #[inline(always)]
        unsafe fn prefetch(out: *const f32) {
            unsafe { arch::_mm_prefetch(out.cast(), arch::_MM_HINT_T0) }
        }

        #[inline(always)]
        unsafe fn store(out: *mut f32, sums: arch::__m256, scale: f32) {
            unsafe { arch::_mm256_storeu_ps(out, arch::_mm256_mul_ps(sums, Self::splat(scale))) }
        }

        #[inline(always)]
        unsafe fn add(out: *mut f32, sums: arch::__m256, scale: f32) {
            unsafe {
                arch::_mm256_storeu_ps(out, arch::_mm256_fmadd_ps(sums, Self::splat(scale), Self::load(out)));
            }
        }
    }

    impl Simd for Avx512 {
        type Factor = f32;
        type Factors = arch::__m512;
        type Sums = arch::__m512;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> arch::__m512 {
            unsafe { arch::_mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn load(factors: *const f32) -> arch::__m512 {
            unsafe { arch::_mm512_loadu_ps(factors) }
        }

        #[inline(always)]
        unsafe fn splat(factor: f32) -> arch::__m512 {
            unsafe { arch::_mm512_set1_ps(factor) }
        }

        #[inline(always)]
        unsafe fn multiply_add(sums: arch::__m512, a: arch::__m512, b: arch::__m512) -> arch::__m512 {
            unsafe { arch::_mm512_fmadd_ps(a, b, sums) }
        }

        #[inline(always)]
        unsafe fn prefetch(out: *const f32) {
            unsafe { arch::_mm_prefetch(out.cast(), arch::_MM_HINT_T0) }
        }

        #[inline(always)]
        unsafe fn store(out: *mut f32, sums: arch::__m512, scale: f32) {
            unsafe { arch::_mm512_storeu_ps(out, arch::_mm512_mul_ps(sums, Self::splat(scale))) }
        }

        #[inline(always)]
        unsafe fn add(out: *mut f32, sums: arch::__m512, scale: f32) {
            unsafe {
                arch::_mm512_storeu_ps(out, arch::_mm512_fmadd_ps(sums, Self::splat(scale), Self::load(out)));
            }
        }
    }

    impl Simd for Avx512Bf16 {
        type Factor = u32;
        type Factors = arch::__m512i;
        type Sums = arch::__m512;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> arch::__m512 {
            unsafe { Avx512::zero() }
        }

        #[inline(always)]
        unsafe fn load(factors: *const u32) -> arch::__m512i {
            unsafe { arch::_mm512_loadu_epi32(factors.cast()) }
        }

        #[inline(always)]
        unsafe fn splat(factor: u32) -> arch::__m512i {
            unsafe { arch::_mm512_set1_epi32(factor.cast_signed()) }
        }

        #[inline(always)]
        unsafe fn multiply_add(sums: arch::__m512, a: arch::__m512i, b: arch::__m512i) -> arch::__m512 {
            // The transmutes are between names of the same 512 bits.
            unsafe {
                let a = transmute::<arch::__m512i, arch::__m512bh>(a);
                arch::_mm512_dpbf16_ps(sums, a, transmute::<arch::__m512i, arch::__m512bh>(b))
            }
        }

        #[inline(always)]
        unsafe fn prefetch(out: *const f32) {
            unsafe { arch::_mm_prefetch(out.cast(), arch::_MM_HINT_T0) }
        }

        #[inline(always)]
        unsafe fn store(out: *mut f32, sums: arch::__m512, scale: f32) {
            unsafe { Avx512::store(out, sums, scale) }
        }

        #[inline(always)]
        unsafe fn add(out: *mut f32, sums: arch::__m512, scale: f32) {
            unsafe { Avx512::add(out, sums, scale) }
        }
    }
}
