//! The bytes of a GGUF file, so that tensors can be written one at a time.
//!
//! Source: `docs/gguf.md` in ggml's repository, version 3. candle's own writer wants every
//! quantized tensor in memory at once.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;

use super::model_keys::Entries;

/// Tensors begin at multiples of this many bytes.
pub(super) const ALIGNMENT: usize = 32;

/// What the header says of one tensor.
pub(super) struct TensorHeader {
    pub name: String,
    /// `[out, in]`; GGUF lists the innermost dimension first.
    pub shape: Vec<usize>,
    pub block: GgmlDType,
}

impl TensorHeader {
    /// Bytes of the tensor's blocks, without padding.
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() / self.block.block_size() * self.block.type_size()
    }
}

/// Zero bytes that bring `length` to the alignment.
pub(super) fn padding(length: usize) -> Vec<u8> {
    vec![0; length.next_multiple_of(ALIGNMENT) - length]
}

/// Everything before the first tensor's blocks, padded.
pub(super) fn header(entries: &Entries, tensors: &[TensorHeader]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        put_text(&mut out, key);
        out.extend(value_code(value).to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        put_text(&mut out, &tensor.name);
        put_dimensions(&mut out, &tensor.shape);
        out.extend(block_code(tensor.block).to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    let pad = padding(out.len());
    out.extend(pad);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "a tensor has one or two dimensions")]
fn put_dimensions(out: &mut Vec<u8>, shape: &[usize]) {
    out.extend((shape.len() as u32).to_le_bytes());
    for size in shape.iter().rev() {
        out.extend((*size as u64).to_le_bytes());
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(text) => put_text(out, text),
        Value::Array(items) => {
            // An empty list can only be the merges of a tokenizer without any: texts.
            out.extend(items.first().map_or(8, value_code).to_le_bytes());
            out.extend((items.len() as u64).to_le_bytes());
            for item in items {
                put_value(out, item);
            }
        }
    }
}

const fn value_code(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

const fn block_code(block: GgmlDType) -> u32 {
    match block {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use candle_core::quantized::gguf_file::Content;

    use super::*;

    /// candle's reader is the reference.
    #[test]
    fn another_reader_finds_every_key_and_tensor() {
        let texts = Value::Array(vec![Value::String("a b".into()), Value::String("ä".into())]);
        let values = [
            Value::U8(1),
            Value::I8(-1),
            Value::U16(2),
            Value::I16(-2),
            Value::U32(3),
            Value::I32(-3),
            Value::U64(4),
            Value::I64(-4),
            Value::F32(0.5),
            Value::F64(-0.5),
            Value::Bool(true),
            texts,
        ];
        let entries: Entries = values.into_iter().enumerate().map(|(i, v)| (format!("key.{i}"), v)).collect();
        let tensor = |name: &str, shape: &[usize], block| TensorHeader {
            name: name.to_owned(),
            shape: shape.to_vec(),
            block,
        };
        let tensors = [tensor("norm", &[3], GgmlDType::F32), tensor("matrix", &[2, 256], GgmlDType::Q4K)];
        let bytes = header(&entries, &tensors);
        let content = Content::read(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(content.tensor_data_offset, bytes.len() as u64);
        for (key, value) in &entries {
            assert_eq!(format!("{:?}", content.metadata[key]), format!("{value:?}"));
        }
        let matrix = &content.tensor_infos["matrix"];
        assert_eq!(
            (matrix.shape.dims(), matrix.ggml_dtype, matrix.offset),
            (&[2, 256][..], GgmlDType::Q4K, 32)
        );
    }
}
