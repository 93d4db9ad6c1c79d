//! How a weight lies in memory.

use super::TrainingSetup;
use super::ops::WIDE;
use crate::space::BlockFormat;

/// A weight of o × i values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    pub(super) o: usize,
    pub(super) i: usize,
    pub(super) format: Format,
}

/// Its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Numbers of so many bytes.
    Plain(u64),
    /// Blocks of (values, bytes).
    Blocks(u64, u64),
}

impl Matrix {
    pub(super) const fn wide(o: usize, i: usize) -> Self {
        Self { o, i, format: Format::Plain(WIDE) }
    }

    /// A frozen linear layer.
    pub(super) fn frozen_linear(o: usize, i: usize, setup: &TrainingSetup) -> Self {
        let quantize = setup.lora.and_then(|lora| lora.quantize_base);
        let blocks = quantize.and_then(|format| blocks_of(format, i));
        Self { o, i, format: blocks.unwrap_or(Format::Plain(setup.file_bytes)) }
    }

    pub(super) const fn elements(self) -> usize {
        self.o * self.i
    }

    /// Some of its rows.
    pub(super) const fn rows(self, o: usize) -> Self {
        Self { o, ..self }
    }

    pub(super) const fn bytes(self) -> u64 {
        let values = self.elements() as u64;
        match self.format {
            Format::Plain(bytes) => values * bytes,
            Format::Blocks(of, bytes) => values / of * bytes,
        }
    }
}

/// Blocks of five bits are taken where a row is too short for a super-block.
fn blocks_of(format: BlockFormat, width: usize) -> Option<Format> {
    let wanted = match format {
        BlockFormat::Q8_0 => (32, 34),
        BlockFormat::Q4K => (256, 144),
        BlockFormat::Q4_0 => (32, 18),
    };
    let fits = |(values, _): &(u64, u64)| (width as u64).is_multiple_of(*values);
    let (values, bytes) = [wanted, (32, 22)].into_iter().find(fits)?;
    Some(Format::Blocks(values, bytes))
}
