//! Rotary frequencies: which are read from a configuration, and what they come to.

use super::family::Family;
use super::keys::Keys;
use super::{ConfigError, Traits};

/// How the frequencies of a rotary embedding are changed for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All are divided by the factor (Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Low ones are divided by `factor`, high ones stay, those between are blended (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Waves longer than `original_positions` over this are low.
        low: f64,
        /// Waves shorter than `original_positions` over this are high.
        high: f64,
        /// Context before it was extended.
        original_positions: f64,
    },
    /// Each is divided by a factor of its own, another for long sequences (Ding et al. 2024).
    Long {
        /// Divisors for sequences of at most `original_positions`.
        short: Vec<f64>,
        /// Divisors for longer ones.
        long: Vec<f64>,
        /// Context before it was extended.
        original_positions: usize,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
}

/// What turns the heads of one kind of layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position of each pair of values.
    pub frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    pub factor: f64,
    /// Sequences longer than this take the other frequencies.
    pub long: Option<(usize, Vec<f64>)>,
}

impl Rope {
    /// θ^(−2i/w) for i < w/2 (Su et al. 2021, eq. 15), scaled.
    pub(super) fn new(theta: f64, width: usize, scaling: &RopeScaling) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a head's width is far below 2^52")]
        let plain: Vec<f64> = (0..width / 2).map(|i| theta.powf(-2.0 * i as f64 / width as f64)).collect();
        let divided =
            |by: &[f64]| plain.iter().zip(by).map(|(frequency, by)| frequency / by).collect::<Vec<f64>>();
        let all = |frequencies| Self { frequencies, factor: 1.0, long: None };
        match scaling {
            RopeScaling::None => all(plain),
            RopeScaling::Linear { factor } => all(plain.iter().map(|frequency| frequency / factor).collect()),
            RopeScaling::Llama3 { factor, low, high, original_positions } => {
                let scaled = |frequency: &f64| llama3(*frequency, *factor, *low, *high, *original_positions);
                all(plain.iter().map(scaled).collect())
            }
            RopeScaling::Long { short, long, original_positions, attention_factor } => Self {
                frequencies: divided(short),
                factor: *attention_factor,
                long: Some((*original_positions, divided(long))),
            },
        }
    }
}

/// As in Meta's `apply_scaling` of Llama 3.1.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original_positions: f64) -> f64 {
    // How often it turns in the original context: at most `low` times is low, at least `high` high.
    let turns = original_positions * frequency / std::f64::consts::TAU;
    let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    frequency * ((1.0 - share) / factor + share)
}

/// Reads the base of the frequencies and, into `traits`, all else of the rotary embedding.
///
/// Transformers 5 keeps all of it under `rope_parameters`, parted by kind of layer where they differ;
/// before it was spread over `rope_theta`, `rope_scaling` and `rope_local_base_freq`.
pub(super) fn read(keys: Keys, family: &Family, traits: &mut Traits) -> Result<f64, ConfigError> {
    let own = match keys.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => keys.object("rope_parameters")?,
    };
    let (mut global, mut local) = (own, None);
    if let Some(parts) = own.filter(|own| own.has("full_attention") || own.has("sliding_attention")) {
        (global, local) = (parts.object("full_attention")?, parts.object("sliding_attention")?);
    }
    let number = |from: Option<Keys>, key| from.map_or(Ok(None), |from| from.number(key));
    if family.partial_rotary {
        let share = number(global, "partial_rotary_factor")?;
        traits.rotary_share = share.or(keys.number("partial_rotary_factor")?).unwrap_or(1.0);
    }
    if let Some(global) = global {
        traits.rope_scaling = scaling(global, keys, family)?;
    }
    if let Some(default) = family.local_rope_theta {
        if let Some(local) = local.filter(|local| kind(*local).is_ok_and(|kind| kind != "default")) {
            return Err(unsupported(kind(local)?, "local layers have unscaled rotary embeddings"));
        }
        let theta = number(local, "rope_theta")?.or(keys.number("rope_local_base_freq")?);
        traits.local_rope_theta = Some(theta.unwrap_or(default));
    }
    let theta = number(global, "rope_theta")?.or(keys.number("rope_theta")?);
    Ok(theta.unwrap_or(family.rope_theta))
}

fn kind(rope: Keys<'_>) -> Result<&str, ConfigError> {
    Ok(rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default"))
}

fn unsupported(kind: &str, right: &'static str) -> ConfigError {
    ConfigError::Feature { key: "rope_type", value: format!("`{kind}`"), right }
}

fn scaling(rope: Keys, keys: Keys, family: &Family) -> Result<RopeScaling, ConfigError> {
    let needed = |key: &'static str| match rope.number(key)? {
        Some(number) if number > 0.0 => Ok(number),
        found => Err(ConfigError::Feature {
            key,
            value: found.map_or_else(|| "missing".to_owned(), |number| number.to_string()),
            right: "the `rope_type` that is named needs a number above 0",
        }),
    };
    match kind(rope)? {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: needed("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original_positions: needed("original_max_position_embeddings")?,
        }),
        // Early files of Phi-3 have the first of these names.
        "su" | "longrope" => long(rope, keys, family),
        other => Err(unsupported(
            other,
            "`default`, `linear`, `llama3` and `longrope` rotary embeddings are implemented",
        )),
    }
}

fn long(rope: Keys, keys: Keys, family: &Family) -> Result<RopeScaling, ConfigError> {
    let factors = |key: &'static str| {
        let (value, right) = ("missing".to_owned(), "`longrope` needs a list of numbers");
        rope.numbers(key)?.ok_or(ConfigError::Feature { key, value, right })
    };
    let key = "original_max_position_embeddings";
    let original_positions = match keys.count(key)? {
        Some(outside) => outside,
        None => rope.count(key)?.unwrap_or(family.max_positions),
    };
    let positions = keys.count("max_position_embeddings")?.unwrap_or(family.max_positions);
    #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^52")]
    let (longest, original) = (positions as f64, original_positions as f64);
    let extension = rope.number("factor")?.unwrap_or(longest / original);
    let usual = if extension <= 1.0 { 1.0 } else { (1.0 + extension.ln() / original.ln()).sqrt() };
    Ok(RopeScaling::Long {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original_positions,
        attention_factor: rope.number("attention_factor")?.unwrap_or(usual),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head of 128 and the settings of Llama-3.1-8B.
    #[test]
    fn llama_3_leaves_high_frequencies_divides_low_ones_and_blends_between() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_positions: 8192.0 };
        let plain = Rope::new(500_000.0, 128, &RopeScaling::None).frequencies;
        let scaled = Rope::new(500_000.0, 128, &scaling).frequencies;
        let ratio = |i: usize| plain[i] / scaled[i];
        assert!((ratio(0) - 1.0).abs() < 1e-12 && (ratio(28) - 1.0).abs() < 1e-12);
        assert!((ratio(40) - 8.0).abs() < 1e-12 && (ratio(63) - 8.0).abs() < 1e-12);
        // Transformers' _compute_llama3_parameters gives 2.02631 for pair 31.
        assert!((ratio(31) - 2.02631).abs() < 1e-5, "{}", ratio(31));
    }
}
