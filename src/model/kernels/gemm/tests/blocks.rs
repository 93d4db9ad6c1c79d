//! A matrix in blocks is its values: the products are equal to the last bit.

use candle_core::quantized::k_quants::{BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ8_0, GgmlType};

use super::*;

/// Rows of x; rows of W, and blocks in each; which view of W it is multiplied by.
#[derive(Clone, Copy, Debug)]
struct Case {
    n: usize,
    o: usize,
    blocks: usize,
    is_transposed: bool,
    seed: u64,
}

fn bytes<B>(blocks: &[B]) -> &[u8] {
    // SAFETY: the bytes of integers and half floats without padding.
    #[expect(unsafe_code, reason = "the test's own blocks, as candle hands them out")]
    unsafe {
        std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks))
    }
}

fn product<F: Factor>(a: Matrix<f32>, b: impl Operand, kernel: &Kernel<F>) -> Vec<u32> {
    let mut out = vec![MaybeUninit::new(0.0_f32); a.rows * b.size().1];
    Product { a, b, scale: 1.0, output: Output::Overwrite }.run(&mut out, kernel, Threads::All);
    // SAFETY: all values were there before.
    #[expect(unsafe_code, reason = "the test calls below the safe entrance, to choose the kernel")]
    out.into_iter().map(|value| unsafe { value.assume_init() }.to_bits()).collect()
}

fn assert_same<B: GgmlType>(case: Case) {
    let Case { n, o, blocks, is_transposed, seed } = case;
    let i = blocks * B::BLCK_SIZE;
    let mut quantized = vec![B::zeros(); o * blocks];
    B::from_float(&random(seed, o * i), &mut quantized);
    let mut values = vec![0.0; o * i];
    B::to_float(&quantized, &mut values);
    let k = if is_transposed { i } else { o };
    let x = random(seed ^ 1, n * k);
    let x = Matrix::new(&x, n, k);
    let (w, plain) = (BlockMatrix::<B>::new(bytes(&quantized), (o, i)), Matrix::new(&values, o, i));
    let (w, plain) = if is_transposed { (w.t(), plain.t()) } else { (w, plain) };
    for instructions in Instructions::available() {
        let kernel = Kernel::wide(instructions);
        assert!(product(x, w, &kernel) == product(x, plain, &kernel), "{case:?} {instructions:?}");
        if let Some(kernel) = Kernel::narrow(instructions) {
            assert!(product(x, w, &kernel) == product(x, plain, &kernel), "{case:?} pairs");
        }
    }
}

fn assert_same_in_every_format(case: Case) {
    assert_same::<BlockQ8_0>(case);
    assert_same::<BlockQ5_0>(case);
    assert_same::<BlockQ4_0>(case);
    assert_same::<BlockQ4K>(Case { blocks: case.blocks.div_ceil(8), ..case });
}

proptest! {
    #[test]
    fn blocks_multiply_as_their_values_do(
        (n, o, blocks) in (1..20_usize, 1..90_usize, 1..30_usize),
        is_transposed: bool,
        seed: u64,
    ) {
        assert_same_in_every_format(Case { n, o, blocks, is_transposed, seed });
    }
}

/// More columns than are packed together, and more depth.
#[test]
fn large_matrices_in_blocks_multiply_as_their_values_do() {
    for (o, blocks, is_transposed) in
        [(WIDEST + 40, 3, true), (70, WIDEST / 32 + 8, false), (1300, 80, false)]
    {
        assert_same_in_every_format(Case { n: 3, o, blocks, is_transposed, seed: 5 });
    }
    assert_same::<BlockQ8_0>(Case { n: 3, o: 2100, blocks: 40, is_transposed: true, seed: 5 });
}

#[test]
#[should_panic(expected = "blocks of another size")]
fn blocks_that_are_missing_are_noticed() {
    let block = [BlockQ8_0::zeros()];
    let _ = BlockMatrix::<BlockQ8_0>::new(bytes(&block), (2, 32));
}
