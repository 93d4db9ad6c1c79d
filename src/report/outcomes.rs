//! Outcomes in words a reader understands without knowing the protocol.

use crate::trial::{Outcome, Trial};

/// Longest message shown in a table; the store keeps all of it.
const MESSAGE_CHARS: usize = 160;

/// One phrase for a table.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "finished".to_owned(),
        Outcome::OutOfMemory { requested, live, .. } => match requested {
            Some(requested) => format!("out of memory: {requested} more than the {live} held"),
            None => format!("out of memory at {live}"),
        },
        Outcome::Diverged { step } => format!("diverged at step {step}"),
        Outcome::Failed { class, message } => format!("failed ({}): {}", class.name(), short(message)),
        Outcome::Crashed { signal, exit_code, stderr_tail } => {
            let how = match (signal, exit_code) {
                (Some(signal), _) => format!("crashed (signal {signal})"),
                (None, Some(code)) => format!("crashed (exit code {code})"),
                (None, None) => "crashed".to_owned(),
            };
            if stderr_tail.trim().is_empty() { how } else { format!("{how}: {}", short(stderr_tail)) }
        }
        Outcome::TimedOut { seconds, .. } => format!("timed out after {seconds} s of silence"),
    }
}

/// The phrase for a trial: how its last rung ended.
pub(super) fn describe_trial(trial: &Trial) -> String {
    trial.last().map_or_else(|| "not run yet".to_owned(), |record| describe(&record.outcome))
}

/// The end of a message on one line: the end says why, the start often only where.
fn short(message: &str) -> String {
    let line = printable(message);
    let excess = line.chars().count().saturating_sub(MESSAGE_CHARS);
    if excess == 0 { line } else { format!("…{}", line.chars().skip(excess).collect::<String>()) }
}

/// `text` on one line without control characters, which neither XML nor a terminal takes well.
pub(super) fn printable(text: &str) -> String {
    let spaced = text.replace(char::is_control, " ");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::FailureClass;
    use crate::units::Bytes;

    #[test]
    fn an_out_of_memory_says_what_was_asked_for_and_held() {
        let outcome =
            Outcome::OutOfMemory { requested: Some(Bytes::mib(64)), live: Bytes::gib(1), cap: None };
        assert_eq!(describe(&outcome), "out of memory: 64.0 MiB more than the 1.00 GiB held");
    }

    #[test]
    fn a_long_message_keeps_its_end_and_loses_its_control_characters() {
        let message = format!("{}\u{1b}[31mthe\nreason", "x".repeat(500));
        let text = describe(&Outcome::Failed { class: FailureClass::Device, message });
        assert!(text.starts_with("failed (device): …") && text.ends_with("[31mthe reason"), "{text}");
        assert!(text.chars().count() < 200);
    }
}
