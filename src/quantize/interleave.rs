//! The row order of query and key matrices, where both formats differ.
//!
//! Hugging Face rotates row `i` of a head with row `i + k/2`; llama.cpp's `llama` architecture
//! rotates row `2i` with row `2i + 1`. A file with the wrong order loads without an error and
//! answers nonsense. `h` heads of width `k`, `d` inputs.

use candle_core::{Result, Tensor};

/// `[h·k, d]` from Hugging Face's order (halves) into llama.cpp's (pairs).
pub(super) fn to_pairs(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, d) = weight.dims2()?;
    let half = rows / heads / 2;
    weight.reshape((heads, 2, half, d))?.transpose(1, 2)?.contiguous()?.reshape((rows, d))
}

/// `[h·k, d]` from llama.cpp's order (pairs) into Hugging Face's (halves).
pub(super) fn to_halves(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, d) = weight.dims2()?;
    let half = rows / heads / 2;
    weight.reshape((heads, half, 2, d))?.transpose(1, 2)?.contiguous()?.reshape((rows, d))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two heads of width 4, one input: each row is its own number.
    #[test]
    fn rows_of_each_head_are_paired_with_their_other_half() {
        let halves: [f32; 8] = [0., 1., 2., 3., 4., 5., 6., 7.];
        let pairs: [f32; 8] = [0., 2., 1., 3., 4., 6., 5., 7.];
        let weight = Tensor::new(&halves, &Device::Cpu).unwrap().reshape((8, 1)).unwrap();
        let turned = to_pairs(&weight, 2).unwrap();
        assert_eq!(turned.flatten_all().unwrap().to_vec1::<f32>().unwrap(), pairs);
        let back = to_halves(&turned, 2).unwrap();
        assert_eq!(back.flatten_all().unwrap().to_vec1::<f32>().unwrap(), halves);
    }
}
