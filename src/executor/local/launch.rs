//! How a child is started: its environment, its standard streams, its task.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::command::Programs;
use crate::executor::ExecutorError;
use crate::space::{CardName, DeviceSpec};
use crate::trial::{Task, TrialSpec};

/// Which cards a CUDA program sees, and in which order.
const VISIBLE_CARDS: &str = "CUDA_VISIBLE_DEVICES";

const ORDER_OF_CARDS: &str = "CUDA_DEVICE_ORDER";

/// What of the machine a child is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Its threads; as many as it likes where none are named.
    pub(super) threads: Option<usize>,
    /// The only cards it sees, by which numbers the machine knows them; it sees all where none is named.
    pub(super) cards: Vec<CardName>,
}

/// Starts a child and gives it its task.
pub(super) fn start(programs: &Programs, spec: &TrialSpec, share: &Share) -> Result<Child, ExecutorError> {
    let spec = seen_by_the_child(spec, share);
    let mut child = command(programs, &spec, share).spawn().map_err(ExecutorError::Start)?;
    if let Some(mut stdin) = child.stdin.take() {
        let spec = serde_json::to_vec(&spec).map_err(|error| ExecutorError::Start(error.into()))?;
        // A child that died before it read its task is classified by how it died.
        let _ = stdin.write_all(&spec);
    }
    Ok(child)
}

fn command(programs: &Programs, spec: &TrialSpec, share: &Share) -> Command {
    let mut command = programs.command(spec);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(threads) = share.threads {
        // The second is what PyTorch reads.
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(name, threads.to_string());
        }
    }
    // CUDA's own order is by speed; this is that of `nvidia-smi` and of all that tells what is free on a card.
    if !spec.device.is_cpu() && std::env::var_os(ORDER_OF_CARDS).is_none() {
        command.env(ORDER_OF_CARDS, "PCI_BUS_ID");
    }
    if !share.cards.is_empty() {
        let outer = std::env::var(VISIBLE_CARDS).ok();
        let visible = share.cards.iter().map(|card| visible_card(*card, outer.as_deref()));
        command.env(VISIBLE_CARDS, visible.collect::<Vec<_>>().join(","));
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A group of its own: killing it reaches grandchildren, and Ctrl-C does not.
        command.process_group(0);
    }
    command
}

/// A card a child sees, in the words of the driver's own list of cards, which may hold identities.
fn visible_card(card: CardName, outer: Option<&str>) -> String {
    let CardName::Index(index) = card else { return card.to_string() };
    let of_outer = outer.and_then(|outer| outer.split(',').nth(index)).map(str::trim);
    of_outer.filter(|name| !name.is_empty()).map_or_else(|| index.to_string(), str::to_owned)
}

/// A child that sees only its own cards counts them from 0.
fn seen_by_the_child(spec: &TrialSpec, share: &Share) -> TrialSpec {
    let mut seen = spec.clone();
    let further = match &mut seen.task {
        Task::Train { also_on, .. } => also_on.as_mut_slice(),
        _ => &mut [],
    };
    for device in std::iter::once(&mut seen.device).chain(further) {
        if let DeviceSpec::Cuda { card, .. } = device {
            *card = share.cards.iter().position(|seen| seen == card).map_or(*card, CardName::Index);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::testing::train;

    #[test]
    fn a_child_sees_the_card_of_its_slot_in_the_words_of_the_drivers_own_list() {
        for (index, outer, expected) in [
            (1, None, "1"),
            (1, Some("2,5"), "5"),
            (0, Some("GPU-a, GPU-b"), "GPU-a"),
            (1, Some("GPU-a, GPU-b"), "GPU-b"),
            (1, Some("3"), "1"),
        ] {
            assert_eq!(visible_card(CardName::Index(index), outer), expected, "cuda:{index} of {outer:?}");
        }
    }

    #[test]
    fn a_child_counts_the_cards_it_sees_from_the_first_on() {
        let devices = |text: [&str; 3]| text.map(|text| text.parse::<DeviceSpec>().unwrap());
        let seen = |typed: [&str; 3], cards: &[usize]| {
            let [device, others @ ..] = devices(typed);
            let mut spec = TrialSpec { device, ..train(4, "checkpoint") };
            if let Task::Train { also_on, .. } = &mut spec.task {
                also_on.extend(others);
            }
            let seen = seen_by_the_child(
                &spec,
                &Share { threads: None, cards: cards.iter().copied().map(CardName::Index).collect() },
            );
            let Task::Train { also_on, .. } = seen.task else { panic!("{seen:?}") };
            [seen.device, also_on[0], also_on[1]]
        };
        let typed = ["cuda:2:8GiB", "cuda:0:8GiB", "cuda:5:8GiB"];
        assert_eq!(seen(typed, &[2, 0, 5]), devices(["cuda:0:8GiB", "cuda:1:8GiB", "cuda:2:8GiB"]));
        assert_eq!(seen(typed, &[]), devices(typed));
    }
}
