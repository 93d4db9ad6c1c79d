//! What can be typed.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Finds how to fine-tune a language model on the hardware at hand, then does it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 unexpected, 2 the command line, study file, data or model is wrong,
3 nothing fits, 4 stopped early but saved, 130 interrupted.

Start here: diapason run search-spaces/quickstart.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Do everything: fit, tune, full fine-tune, quantize, report
    ///
    /// Started again, the same command goes on where it was stopped: nothing finished runs twice.
    Run(StudyOptions),
    /// Find the largest micro-batch that fits, per precision, by running it
    Fit(StudyOptions),
    /// Search precision, effective batch and learning rate by short trials
    Tune(StudyOptions),
    /// Fine-tune with the study's best configuration, or the only one its space has
    Train(StudyOptions),
    /// Loss of a model folder, GGUF file or hub model on a data file, in nats per token
    Eval(EvalOptions),
    /// Write GGUF files of a model folder or hub model
    Quantize(QuantizeOptions),
    /// Draw a study's plots and its page again from what it remembers
    Report(StudyOptions),
    /// Show how far a study is, while it runs or later
    Status(StudyOptions),
    /// Show devices, memory, hub access and what can't be known about them
    Doctor(DoctorOptions),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Run one trial: a specification on standard input, events on standard output
    #[command(hide = true)]
    Worker,
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
    /// Print one JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}
