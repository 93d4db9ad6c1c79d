//! A weight as it lies in memory: a tensor, or a frozen matrix in quantized blocks.

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor};

use crate::space::BlockFormat;

/// A weight of a decoder.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Values that can be changed.
    Plain(Tensor),
    /// A matrix that is only read.
    Blocks(Blocks),
}

/// Rows of a matrix whose values share a scale, block by block (`QLoRA`, Dettmers et al. 2023, with the
/// blocks of GGUF instead of NF4). They are made f32 as they are used, some at a time.
#[derive(Clone, Debug)]
pub struct Blocks {
    whole: Arc<QTensor>,
    /// Those of the whole matrix that belong to this one.
    rows: Range<usize>,
    width: usize,
}

/// Any matrix [o, i] that is read.
#[derive(Clone, Copy)]
pub(super) enum MatrixRef<'a> {
    Plain(&'a Tensor),
    Blocks(&'a Blocks),
}

impl Stored {
    /// The same weight in blocks on `device`, as far as its shape allows.
    ///
    /// A row whose length is no multiple of a block's stays as it is.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub(super) fn quantized(matrix: &Tensor, format: BlockFormat, device: &Device) -> Result<Self> {
        let (rows, width) = matrix.dims2()?;
        let Some(dtype) = block_type(format, width) else { return Ok(Self::Plain(matrix.clone())) };
        let whole = QTensor::quantize_onto(&matrix.to_dtype(DType::F32)?.contiguous()?, dtype, device)?;
        Ok(Self::Blocks(Blocks { whole: Arc::new(whole), rows: 0..rows, width }))
    }

    /// The tensor, of a weight that is none of those in blocks.
    ///
    /// # Errors
    /// It is in blocks: a defect of whoever asks.
    pub(super) fn plain(&self) -> Result<&Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor),
            Self::Blocks(_) => candle_core::bail!("a weight in blocks was taken for one that can be changed"),
        }
    }

    /// All values: a copy of those in blocks.
    ///
    /// # Errors
    /// The device refuses the memory.
    pub(super) fn values(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor.clone()),
            Self::Blocks(blocks) => blocks.values(0..blocks.rows.len()),
        }
    }

    /// These rows, in the same memory.
    pub(super) fn narrow(&self, rows: &Range<usize>) -> Result<Self> {
        Ok(match self {
            Self::Plain(tensor) => Self::Plain(tensor.narrow(0, rows.start, rows.len())?),
            Self::Blocks(blocks) => {
                let start = blocks.rows.start;
                Self::Blocks(Blocks { rows: start + rows.start..start + rows.end, ..blocks.clone() })
            }
        })
    }
}

impl From<Tensor> for Stored {
    fn from(tensor: Tensor) -> Self {
        Self::Plain(tensor)
    }
}

impl Blocks {
    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.width)
    }

    /// The kind of block.
    pub(super) fn dtype(&self) -> GgmlDType {
        self.whole.dtype()
    }

    /// Some rows in f32, [rows, width].
    pub(super) fn values(&self, rows: Range<usize>) -> Result<Tensor> {
        let number = |row: usize| u32::try_from(self.rows.start + row).map_err(candle_core::Error::wrap);
        let numbers = rows.map(number).collect::<Result<Vec<u32>>>()?;
        self.whole.embedding(&Tensor::new(numbers, &self.whole.device())?)
    }

    /// Calls `f` with the bytes of the blocks, row after row, on the CPU.
    pub(super) fn read<R>(&self, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let bytes = self.whole.data()?;
        let row = self.width / self.dtype().block_size() * self.dtype().type_size();
        f(&bytes[self.rows.start * row..self.rows.end * row])
    }
}

impl MatrixRef<'_> {
    /// Rows and columns.
    pub(super) fn size(&self) -> Result<(usize, usize)> {
        match self {
            Self::Plain(tensor) => tensor.dims2(),
            Self::Blocks(blocks) => Ok(blocks.size()),
        }
    }
}

impl<'a> From<&'a Tensor> for MatrixRef<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Plain(tensor)
    }
}

impl<'a> From<&'a Stored> for MatrixRef<'a> {
    fn from(stored: &'a Stored) -> Self {
        match stored {
            Stored::Plain(tensor) => Self::Plain(tensor),
            Stored::Blocks(blocks) => Self::Blocks(blocks),
        }
    }
}

/// The kind of block for rows of `width` values, if one fits. What a super-block does not fit gets five
/// bits in smaller blocks, as llama.cpp does.
fn block_type(format: BlockFormat, width: usize) -> Option<GgmlDType> {
    let wanted = match format {
        BlockFormat::Q8_0 => GgmlDType::Q8_0,
        BlockFormat::Q4K => GgmlDType::Q4K,
        BlockFormat::Q4_0 => GgmlDType::Q4_0,
    };
    let fits = |dtype: &GgmlDType| width.is_multiple_of(dtype.block_size());
    [wanted, GgmlDType::Q5_0].into_iter().find(fits)
}
