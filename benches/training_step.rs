//! Time and memory of optimizer steps of our engine: our side of `benches/peers/training.sh`.
//!
//! `cargo bench --bench training_step -- ROW [--micro-batch B] [--steps N] …` runs one row in this
//! process and prints one line of JSON; without a row, every row in a process of its own.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use diapason::arch::ModelConfig;
use diapason::data::Batch;
use diapason::device::CountingAllocator;
use diapason::model::{Decoder, read_config, read_frozen_weights, read_weights};
use diapason::space::{ALL_LINEAR, BlockFormat, LoraSettings, Optimizer, Precision};
use diapason::train::{Engine, StepSettings, in_pool};
use diapason::trial::Phase;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Row {
    /// 8 layers of width 576, vocabulary 8192, 4 sequences of 128 tokens, f32.
    A,
    /// Row a with sequences of 512 tokens.
    B,
    /// Row a with a vocabulary of 49152.
    C,
    /// SmolLM2-135M, 2 sequences of 256 tokens.
    DFull,
    /// The same with `LoRA` of rank 16 on all linear layers of the blocks.
    DLora,
    /// Row a in bfloat16 with f32 master weights.
    Bf16,
    /// Row a in half precision with f32 master weights and a scaled loss.
    F16,
}

/// Optimizer steps of one row: learning rate 1e-4, no weight decay, no clipping.
#[derive(Parser)]
struct Arguments {
    /// What to run.
    row: Option<Row>,
    /// Sequences per step.
    #[arg(long)]
    micro_batch: Option<usize>,
    /// Optimizer steps; the first is the warm-up.
    #[arg(long, default_value_t = 6)]
    steps: usize,
    /// Folder of a Hugging Face model instead of random weights.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Little-endian u32 token ids, cut into sequences, instead of made-up ones.
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Makes activations again in the backward pass instead of keeping them.
    #[arg(long)]
    recompute: bool,
    /// `adamw`, or `adamw_8bit` for moments in 8 bits.
    #[arg(long, default_value_t)]
    optimizer: Optimizer,
    /// Row d-lora on a base of this folder in blocks: `q8_0`, `q4_k` or `q4_0`.
    #[arg(long, requires = "model")]
    quantize_base: Option<BlockFormat>,
    /// Peak learning rate.
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sizes of a row.
struct Shape {
    layers: usize,
    vocabulary: usize,
    sequences: usize,
    length: usize,
}

impl Row {
    fn shape(self) -> Shape {
        let (layers, vocabulary, sequences, length) = match self {
            Self::A | Self::Bf16 | Self::F16 => (8, 8192, 4, 128),
            Self::B => (8, 8192, 4, 512),
            Self::C => (8, 49152, 4, 128),
            Self::DFull | Self::DLora => (30, 49152, 2, 256),
        };
        Shape { layers, vocabulary, sequences, length }
    }

    fn config(self) -> Result<ModelConfig> {
        let Shape { layers, vocabulary, length, .. } = self.shape();
        let json = serde_json::json!({
            "model_type": "llama", "vocab_size": vocabulary, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": layers, "num_attention_heads": 9, "num_key_value_heads": 3,
            "max_position_embeddings": length, "tie_word_embeddings": true, "rms_norm_eps": 1e-5,
        });
        Ok(ModelConfig::from_json(&json.to_string())?)
    }

    fn precision(self) -> Precision {
        match self {
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
            _ => Precision::F32,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.row {
        Some(row) => in_pool(|| run(row, &arguments)),
        None => each_in_its_own_process(),
    }
}

/// Peak memory is a process's, so each row needs one.
fn each_in_its_own_process() -> Result<()> {
    let program = std::env::current_exe()?;
    for row in Row::value_variants() {
        let status = Command::new(&program).arg(row.name()).status()?;
        if !status.success() {
            bail!("row {}: {status}", row.name());
        }
    }
    Ok(())
}

fn run(row: Row, arguments: &Arguments) -> Result<()> {
    let idle_rss_bytes = status_bytes("VmRSS")?;
    let Shape { sequences, length, .. } = row.shape();
    let micro_batch = arguments.micro_batch.unwrap_or(sequences);
    let model = model(row, arguments)?;
    let vocabulary = model.config().vocab_size;
    let mut batches = Batches::new(arguments.tokens.as_deref(), vocabulary, micro_batch, length)?;
    let mut engine = Engine::new(model, arguments.optimizer, 0.0, None, 1)?;
    let (mut losses, mut step_seconds) = (Vec::new(), Vec::new());
    let mut clock = PhaseClock::default();
    for step in 1..=arguments.steps {
        let batch = batches.next()?;
        let started = Instant::now();
        let settings = StepSettings { step, learning_rate: arguments.learning_rate };
        clock.start();
        let done = engine.step(&[batch], settings, &mut |phase| {
            clock.enter(phase, step > 1);
            Ok(())
        })?;
        clock.enter(Phase::Load, step > 1);
        step_seconds.push(started.elapsed().as_secs_f64());
        losses.push(done.loss_nats);
    }
    let line = serde_json::json!({
        "row": row.name(), "micro_batch": micro_batch, "sequence_length": length,
        "tokens_per_step": micro_batch * length, "step_seconds": step_seconds, "losses": losses,
        "phase_seconds": clock.total,
        "idle_rss_bytes": idle_rss_bytes, "peak_rss_bytes": status_bytes("VmHWM")?,
    });
    println!("{line}");
    Ok(())
}

fn model(row: Row, arguments: &Arguments) -> Result<Decoder> {
    let (precision, device) = (row.precision(), candle_core::Device::Cpu);
    let decoder = match &arguments.model {
        Some(folder) if matches!(row, Row::DLora) => {
            let config = read_config(folder)?;
            let weights = read_frozen_weights(folder, &config, arguments.quantize_base, &device)?;
            Decoder::frozen(config, weights, precision, &device)?
        }
        Some(folder) => {
            let config = read_config(folder)?;
            let weights = read_weights(folder, &config)?;
            Decoder::new(config, weights, precision, &device)?
        }
        None => Decoder::random(row.config()?, 0, precision, &device)?,
    };
    let decoder = decoder.with_recomputation(arguments.recompute);
    let targets = vec![ALL_LINEAR.to_owned()];
    let lora =
        LoraSettings { rank: 16, alpha: 32.0, dropout: 0.0, targets, rslora: false, quantize_base: None };
    Ok(if matches!(row, Row::DLora) { decoder.with_adapters(&lora, 0)? } else { decoder })
}

/// How long the phases of the steps took, all but the warm-up's.
#[derive(Default)]
struct PhaseClock {
    current: Option<(Phase, Instant)>,
    total: BTreeMap<String, f64>,
}

impl PhaseClock {
    fn start(&mut self) {
        self.current = None;
    }

    fn enter(&mut self, next: Phase, counts: bool) {
        let now = Instant::now();
        if let Some((phase, since)) = self.current.replace((next, now))
            && counts
        {
            *self.total.entry(format!("{phase:?}").to_lowercase()).or_default() +=
                (now - since).as_secs_f64();
        }
    }
}

/// Where the batches come from.
struct Batches {
    tokens: Option<Vec<u32>>,
    vocabulary: usize,
    sequences: usize,
    length: usize,
    next: usize,
}

impl Batches {
    fn new(file: Option<&Path>, vocabulary: usize, sequences: usize, length: usize) -> Result<Self> {
        let read = |file: &Path| -> Result<Vec<u32>> {
            let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect())
        };
        Ok(Self { tokens: file.map(read).transpose()?, vocabulary, sequences, length, next: 0 })
    }

    fn next(&mut self) -> Result<Batch> {
        let (count, t) = (self.sequences * self.length, self.length);
        let sequences = (0..self.sequences).map(|row| row * t..(row + 1) * t).collect();
        let Some(tokens) = &self.tokens else {
            let made_up = |factor: usize, offset: usize| {
                (0..count).map(|i| u32::try_from((i * factor + offset) % self.vocabulary)).collect()
            };
            let (input_ids, targets): (Result<_, _>, Result<_, _>) =
                (made_up(2_654_435_761, 12345), made_up(40_503, 777));
            return Ok(Batch { input_ids: input_ids?, targets: targets?, sequences, scored_tokens: count });
        };
        let size = self.sequences * (t + 1);
        let part = tokens.get(self.next * size..(self.next + 1) * size);
        let part = part.context("the token file holds too few tokens for so many steps")?;
        self.next += 1;
        let windows = || part.chunks(t + 1);
        let input_ids = windows().flat_map(|window| &window[..t]).copied().collect();
        let targets = windows().flat_map(|window| &window[1..]).copied().collect();
        Ok(Batch { input_ids, targets, sequences, scored_tokens: count })
    }
}

/// A size from `/proc/self/status`.
fn status_bytes(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key}"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kibibytes * 1024)
}
