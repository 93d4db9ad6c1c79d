//! WHAT may vary: the study file, the search space and one point of it. Pure.
//!
//! Three types, two conversions: [`StudyFile`] is the TOML as typed; [`Study`] is checked and
//! cannot be wrong; [`Hyperparams`] is one point of its [`Space`].

mod block_format;
mod card_name;
mod check;
mod device_spec;
mod dimension;
mod domain;
mod executor;
mod fit;
mod gpu;
mod hardware;
mod hyperparams;
mod lora;
mod optimizer;
mod precision;
mod pruner_kind;
mod sampler_kind;
mod search_space;
mod study;
mod study_file;
mod template;
pub mod textbook;
mod trainer;

pub use block_format::BlockFormat;
pub use card_name::CardName;
pub use check::GGUF_TYPES;
pub use device_spec::{DeviceSpec, ParseDeviceError};
pub use dimension::{Condition, Dimension, Domain, INACTIVE};
pub use domain::FloatDomain;
pub use executor::{ExecutorSettings, SlurmSettings};
pub use fit::{FitSettings, Margin, Trained};
pub use gpu::GpuSection;
pub use hardware::HardwareSetting;
pub use hyperparams::{BatchPlan, Hyperparams};
pub use lora::{ALL_LINEAR, LoraSettings};
pub use optimizer::Optimizer;
pub use precision::Precision;
pub use pruner_kind::{PrunerKind, UnknownPruner};
pub use sampler_kind::{SamplerKind, UnknownSampler};
pub use search_space::{PointError, ProductConstraint, SearchSpace, UnitPoint};
pub use study::{
    BatchDomain, ColumnMapping, ConfirmSettings, DataFormat, DataSettings, ModelSettings, ModelSource,
    NewModel, QuantizeSettings, Schedule, SearchSettings, Space, Study, TrainSettings,
};
pub use study_file::{StudyFile, StudyFileError};
pub use template::{PLACEHOLDERS, Template, TemplateError};
pub use trainer::{MetricsForm, MetricsKeys, MetricsSettings, TrainerSettings};
