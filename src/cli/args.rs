//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::civil::Time;

use super::deadline;
use crate::space::ALL_LINEAR;
use crate::units::Bytes;

/// Finds how to fine-tune a language model on the hardware at hand, then does it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 unexpected (of doctor: a problem), 2 the command line, study file, data or model is wrong,
3 nothing fits, 4 stopped early but saved, 130 interrupted.

Start here: diapason run search-spaces/quickstart.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Do everything: fit, tune, full fine-tune, quantize, report
    ///
    /// Started again, the same command goes on where it was stopped: nothing finished runs twice.
    Run(SearchOptions),
    /// Find the largest micro-batch that fits, per setting, by running it
    ///
    /// A setting is a precision with what `[fit]` of the study file lists: `max_length`,
    /// `gradient_checkpointing` and `lora_rank`. A replay of the step by shapes says where the edge is; it is then
    /// run: the longest examples, two optimizer steps, an evaluation, a checkpoint. Smaller sizes are timed beside it:
    /// the knee is the smallest within 5 % of the largest one's throughput.
    Fit(FitOptions),
    /// Predict memory and speed on cards that are not here; needs only config.json
    ///
    /// With a study file: each of its settings on each card. Without: one point, given by options.
    Estimate(Box<EstimateOptions>),
    /// Search precision, effective batch and learning rate by short trials
    ///
    /// The best candidates are then compared on the same validation examples, and run again by other seeds where
    /// they can't be told apart (`search.confirm`).
    Tune(SearchOptions),
    /// Try trials again that crashed, failed or fell silent, then go on as `tune`
    ///
    /// For when the machine is mended: a trial that diverged or ran out of memory would do so again. The trial that
    /// failed stays on record; its configuration becomes a new trial.
    Retry(RetryOptions),
    /// Serve the sampler to any program: one JSON object a line in, one out
    ///
    /// {"op":"init","space":{"learning_rate":{"type":"float","low":1e-6,"high":1e-3,"log":true}},
    ///  "fidelity":{"levels":[100,300,900],"resume":true},"seed":1}
    /// {"op":"ask"}
    /// {"op":"tell","id":0,"points":[[100,2.31]],"outcome":"completed"}
    ///
    /// The answer to an `ask` has an id, the hyperparameters, and how far to run; an id that was seen before means
    /// that this trial goes on. What is wrong is answered by an object with the key `error`. The README has all keys.
    #[command(verbatim_doc_comment)]
    Suggest,
    /// Fine-tune with the study's best configuration, or the only one its space has
    ///
    /// On all devices of the study together where it names several cards and this build has NCCL, or
    /// `train.data_parallel = true` asks for it; see README, "Several cards".
    Train(StudyOptions),
    /// Loss of a model folder, GGUF file or hub model on a data file, in nats per token
    Eval(EvalOptions),
    /// Write GGUF files of a model folder or hub model
    Quantize(QuantizeOptions),
    /// Draw a study's plots and its page again from what it remembers
    Report(StudyOptions),
    /// Show how far a study is, while it runs or later
    ///
    /// Only reads: a study that runs is not disturbed.
    Status(StatusOptions),
    /// Check this machine by using it: devices, memory, gradients, disk, hub, Slurm
    ///
    /// Trains a tiny model on the processor and on each card, in children as a study has them: losses and gradients
    /// are held against the processor's, memory is refused on purpose and must be survived, the measured peak is held
    /// against the predicted one. Each line has a verdict, and a fix where something is not in order. Takes less than
    /// two minutes and leaves nothing behind. The exit code is 1 where something is a problem.
    Doctor(DoctorOptions),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Run one trial: a specification on standard input, events on standard output
    #[command(hide = true)]
    Worker,
    /// Become a foreign trainer that dies with the driver and keeps to a cap
    #[command(hide = true)]
    Launch {
        /// Bytes of data it may hold
        #[arg(long)]
        cap: Option<Bytes>,
        /// Program and arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
pub(super) struct StudyOptions {
    /// The study file; see search-spaces/ for examples
    pub(super) study: PathBuf,
    /// Print one JSON object on standard output at the end
    #[arg(long)]
    pub(super) json: bool,
    /// Say nothing while it runs
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Args, Debug)]
pub(super) struct StatusOptions {
    /// The study file; see search-spaces/ for examples
    pub(super) study: PathBuf,
    /// Print one JSON object: what was found, what runs, and what ended last
    #[arg(long, conflicts_with = "watch")]
    pub(super) json: bool,
    /// Show runs, rungs, the best trial, memory, time and the last lines of the log, until the study is no longer run
    #[arg(long)]
    pub(super) watch: bool,
    /// Accepted as by the other commands; there is nothing to keep quiet about
    #[arg(long, short, hide = true)]
    pub(super) quiet: bool,
}

#[derive(Args, Debug)]
pub(super) struct SearchOptions {
    #[command(flatten)]
    pub(super) study: StudyOptions,
    /// Most trials, in place of `search.trials`
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    pub(super) trials: Option<usize>,
    /// Be done after so long, such as `8h` or `1h30m`: `run` with all that follows the search, `tune` with the search
    #[arg(long = "for", value_name = "TIME", value_parser = deadline::duration, conflicts_with = "until")]
    pub(super) time: Option<Duration>,
    /// The same at a time of day, such as `07:00`
    #[arg(long, value_name = "HH:MM", value_parser = deadline::time_of_day)]
    pub(super) until: Option<Time>,
}

#[derive(Args, Debug)]
pub(super) struct RetryOptions {
    #[command(flatten)]
    pub(super) study: StudyOptions,
    /// All of them
    #[arg(long, required = true)]
    pub(super) failed: bool,
}

#[derive(Args, Debug)]
pub(super) struct FitOptions {
    #[command(flatten)]
    pub(super) study: StudyOptions,
    /// Bytes that stay free below the cap, such as `64MiB`, in place of `fit.margin` [default: 8MiB]; the study file
    /// is the place for one that later commands are to keep
    #[arg(long, value_name = "BYTES")]
    pub(super) margin: Option<Bytes>,
}

/// Who trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StackName {
    /// This program
    Diapason,
    /// Hugging Face Transformers with PEFT and PyTorch
    Transformers,
}

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodName {
    /// All of them
    Full,
    /// Low-rank adapters
    Lora,
}

/// How attention is computed, in the stack `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AttentionName {
    /// Each step a tensor of its own
    Eager,
    /// PyTorch's best kernel for the card
    Sdpa,
}

/// Who runs the steps, in the stack `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LoopName {
    /// A loop of one's own: the logits live until the step ends
    Script,
    /// `transformers.Trainer`, under autocast in 16 bits
    Trainer,
}

#[derive(Args, Debug)]
pub(super) struct EstimateOptions {
    /// A study file; or none, and `--model` with the options below
    #[arg(required_unless_present = "model")]
    pub(super) study: Option<PathBuf>,
    /// Cards, separated by commas: `t4`, `rtx-4090`, `a100-80` …, or `all` to rank every known one
    #[arg(long, value_name = "NAME[,NAME…]")]
    pub(super) gpu: String,
    /// Who trains
    #[arg(long, value_enum, default_value = "diapason")]
    pub(super) stack: StackName,
    /// Folder with a config.json, that file, or a hub id `owner/name[@revision]`
    #[arg(long, value_name = "DIR_OR_ID", conflicts_with = "study")]
    pub(super) model: Option<PathBuf>,
    /// Tokens of each example
    #[arg(long, value_name = "N", default_value_t = 512, conflicts_with = "study")]
    pub(super) seq_len: usize,
    /// Examples at once whose bytes are told; without it, the largest that fits
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20))]
    pub(super) micro_batch: Option<usize>,
    /// Micro-batches of one optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "study")]
    pub(super) accumulation: usize,
    /// `f32`, `bf16` or `f16`
    #[arg(long, value_name = "NAME", default_value = "bf16", conflicts_with = "study")]
    pub(super) precision: String,
    /// Which weights are trained
    #[arg(long, value_enum, default_value = "full", conflicts_with = "study")]
    pub(super) method: MethodName,
    /// Rank of the adapters
    #[arg(long, value_name = "N", default_value_t = 16, conflicts_with = "study")]
    pub(super) lora_rank: usize,
    /// Layers with adapters, separated by commas, or `all-linear`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = ALL_LINEAR, conflicts_with = "study")]
    pub(super) lora_targets: Vec<String>,
    /// Share of the adapters' inputs that is dropped
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, conflicts_with = "study")]
    pub(super) lora_dropout: f64,
    /// How a frozen base is kept: `f32`, `bf16`, `f16`; `q8_0`, `q4_k`, `q4_0` (diapason); `nf4`, `nf4-double`
    /// (transformers) [default: as its file says; in transformers, the precision]
    #[arg(long, value_name = "NAME", conflicts_with = "study")]
    pub(super) base_weights: Option<String>,
    /// Activations are made again in the backward pass
    #[arg(long, conflicts_with = "study")]
    pub(super) gradient_checkpointing: bool,
    /// How attention is computed, in the stack `transformers`
    #[arg(long, value_enum, default_value = "sdpa")]
    pub(super) attention: AttentionName,
    /// Who runs the steps, in the stack `transformers`
    #[arg(long, value_enum, default_value = "script")]
    pub(super) training_loop: LoopName,
    /// `adamw`, `adamw_8bit`; in transformers also `adamw_fused` and `paged_adamw_8bit`
    #[arg(long, value_name = "NAME", default_value = "adamw", conflicts_with = "study")]
    pub(super) optimizer: String,
    /// Tokens of the whole run, for hours; a study counts those of its own data
    #[arg(long, value_name = "N")]
    pub(super) tokens: Option<u64>,
    /// Bytes that stay free on the card
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    pub(super) margin: Bytes,
    /// Print one JSON object a line, for each setting and card
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct EvalOptions {
    /// Model folder in the Hugging Face layout, a GGUF file, or a hub id `owner/name[@revision]`
    pub(super) model: PathBuf,
    /// CSV or JSONL file, whose completions are scored, or plain text, of which all is
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,
    /// LoRA adapter for the model: a folder as PEFT writes it
    #[arg(long, value_name = "DIR")]
    pub(super) adapter: Option<PathBuf>,
    /// Folder with another tokenizer than that of the model folder or GGUF file
    #[arg(long, value_name = "DIR")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Longest example in tokens; longer rows are left out, plain text is cut into windows of so
    /// many, the first token of each unscored [default: 512, or the model's context where that is
    /// shorter]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(2..=1 << 20))]
    pub(super) max_length: Option<usize>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct QuantizeOptions {
    /// Model folder in the Hugging Face layout, or a hub id `owner/name[@revision]`
    pub(super) model: PathBuf,
    /// GGUF types, separated by commas: `f32`, `f16`, `bf16`, `q8_0`, `q6_k`, `q5_k_m`, `q4_k_m`, `q4_0`
    #[arg(long = "type", short = 't', value_delimiter = ',', default_value = "q8_0,q4_k_m")]
    pub(super) types: Vec<String>,
    /// Folder for the files; by default the model folder, or the working folder for a hub id
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Also print each file's loss on this data
    #[arg(long, value_name = "FILE")]
    pub(super) eval: Option<PathBuf>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DoctorOptions {
    /// A study that is to run here: its devices, model, data, trainer, and room for what it writes are checked too
    pub(super) study: Option<PathBuf>,
    /// Print one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// Also write a file for a bug report: the checks, the system and the variables that matter, without secrets
    #[arg(long, value_name = "FILE")]
    pub(super) bundle: Option<PathBuf>,
    /// Say nothing while it checks
    #[arg(long, short)]
    pub(super) quiet: bool,
}
