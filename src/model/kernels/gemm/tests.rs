use half::{bf16, f16};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::memory::{BLOCK_ROWS, PACKED, WIDEST};

mod blocks;

fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// The product by its definition, in f64.
fn plain(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    (m, n, k): (usize, usize, usize),
) -> Vec<f64> {
    let entry = |row, column| (0..k).map(|i| f64::from(a(row, i)) * f64::from(b(i, column))).sum();
    (0..m * n).map(|i| entry(i / n, i % n)).collect()
}

#[derive(Clone, Debug)]
struct Case {
    sizes: (usize, usize, usize),
    transposed: (bool, bool),
    output: Output,
    threads: Threads,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..70_usize, 1..70_usize, 1..900_usize);
    let threads = prop_oneof![Just(Threads::All), Just(Threads::One)];
    let output = prop_oneof![Just(Output::Overwrite), Just(Output::Add)];
    (sizes, any::<(bool, bool)>(), output, threads, any::<u64>()).prop_map(
        |(sizes, transposed, output, threads, seed)| Case { sizes, transposed, output, threads, seed },
    )
}

/// Largest difference of the kernel's product from the plain one, for 1 + the magnitude of a sum.
fn error<T: Element, F: Factor>(case: &Case, kernel: &Kernel<F>, narrow: impl Fn(f32) -> T) -> f64 {
    let (m, n, k) = case.sizes;
    let a: Vec<T> = random(case.seed, m * k).into_iter().map(&narrow).collect();
    let b: Vec<T> = random(case.seed ^ 1, n * k).into_iter().map(&narrow).collect();
    let view = |data, rows, columns, transposed| {
        if transposed { Matrix::new(data, columns, rows).t() } else { Matrix::new(data, rows, columns) }
    };
    let product = Product {
        a: view(&a, m, k, case.transposed.0),
        b: view(&b, k, n, case.transposed.1),
        scale: 0.5,
        output: case.output,
    };
    let before = random(case.seed ^ 2, m * n);
    let mut places: Vec<MaybeUninit<f32>> = before.iter().copied().map(MaybeUninit::new).collect();
    product.run(&mut places, kernel, case.threads);
    // SAFETY: all values were there before.
    #[expect(unsafe_code, reason = "the test calls below the safe entrance, to choose the kernel")]
    let out: Vec<f32> = places.into_iter().map(|value| unsafe { value.assume_init() }).collect();
    let at = |data: &[T], rows: usize, columns: usize, transposed: bool, row: usize, column: usize| {
        data[if transposed { column * rows + row } else { row * columns + column }].widen()
    };
    let expected = plain(
        |row, i| at(&a, m, k, case.transposed.0, row, i),
        |i, column| at(&b, k, n, case.transposed.1, i, column),
        case.sizes,
    );
    let added = |before: f32| if case.output == Output::Add { f64::from(before) } else { 0.0 };
    let differences = out.iter().zip(expected).zip(before);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let magnitude = 1.0 + (k as f64).sqrt();
    differences
        .map(|((out, expected), before)| (f64::from(*out) - added(before) - 0.5 * expected).abs() / magnitude)
        .fold(0.0, f64::max)
}

proptest! {
    #[test]
    fn every_kernel_gives_the_plain_product(case in cases()) {
        for instructions in Instructions::available() {
            let wide = Kernel::wide(instructions);
            prop_assert!(error(&case, &wide, |x| x) < 1e-6, "{instructions:?} f32");
            prop_assert!(error(&case, &wide, bf16::from_f32) < 1e-6, "{instructions:?} bf16");
            prop_assert!(error(&case, &wide, f16::from_f32) < 1e-6, "{instructions:?} f16");
            if let Some(narrow) = Kernel::narrow(instructions) {
                prop_assert!(error(&case, &narrow, bf16::from_f32) < 1e-6, "{instructions:?} pairs");
            }
        }
    }
}

#[test]
fn a_product_larger_than_one_packed_block_is_whole() {
    let case = |sizes| Case {
        sizes,
        transposed: (false, true),
        output: Output::Overwrite,
        threads: Threads::All,
        seed: 7,
    };
    for sizes in [(9, WIDEST + 40, 11), (5, 40, PACKED / 32 + 100), (BLOCK_ROWS * 9 + 1, 33, PASS + 1)] {
        for instructions in Instructions::available() {
            assert!(
                error(&case(sizes), &Kernel::wide(instructions), |x| x) < 1e-6,
                "{sizes:?} {instructions:?}"
            );
        }
    }
}

#[test]
fn an_empty_inner_size_gives_zero() {
    let mut out = [1.0_f32; 6];
    let (a, b) = (Matrix::<f32>::new(&[], 2, 0), Matrix::<f32>::new(&[], 0, 3));
    gemm(&mut out, a, b, 1.0, Output::Add, Threads::One);
    assert_eq!(out.map(f32::to_bits), [1.0_f32.to_bits(); 6]);
    gemm(&mut out, a, b, 1.0, Output::Overwrite, Threads::One);
    assert_eq!(out.map(f32::to_bits), [0; 6]);
}

#[test]
#[should_panic(expected = "needs more than")]
fn a_view_beyond_its_slice_is_refused() {
    let _ = Matrix::new(&[0.0; 5], 2, 3);
}
