//! What Slurm says of a job, read from the text of its commands. Pure.
//!
//! Text with a format of our own, not `--json`: that has changed its shape between versions, and in some of them
//! `squeue --json` ignores every filter and lists the whole cluster.

/// Columns of [`rows`]: number, name, state, reason.
pub(super) const ROW_FORMAT: &str = "%A|%j|%T|%r";
/// Columns of [`of_sacct`].
pub(super) const SACCT_FORMAT: &str = "State,ExitCode";

/// Pending jobs with such a reason wait for ever: each begins a hold or a wish that no node fulfils.
const HOPELESS: [&str; 5] =
    ["launch_failed", "job_requeued_in_held_state", "BadConstraints", "InvalidAccount", "InvalidQOS"];

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the queue, held or suspended: silence means nothing.
    Waits,
    /// On a node.
    Runs,
    /// It will not run any more.
    Over(End),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its program exited with 0.
    Completed,
    /// Its program exited otherwise, or died.
    Failed,
    /// Someone cancelled it.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// It used more memory than it had asked for.
    OutOfMemory,
    /// Another job took its place, or its node failed: none of its doing.
    Displaced,
    /// It would wait for ever.
    Hopeless,
}

/// A line of `squeue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) stage: Stage,
}

impl Row {
    /// Whether the job is still in the queue or on a node.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Waits | Stage::Runs | Stage::Over(End::Hopeless))
    }
}

/// What is known of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) stage: Stage,
    /// Exit code of its program.
    pub(super) exit_code: i32,
    /// Signal that ended it, or 0.
    pub(super) signal: i32,
    /// State and reason in Slurm's words.
    pub(super) words: String,
}

/// The jobs of `squeue --noheader --format ROW_FORMAT`; lines of another shape are passed over.
pub(super) fn rows(text: &str) -> Vec<Row> {
    text.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let mut parts = line.trim().splitn(4, '|');
    let (id, name, state, reason) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Row { id: id.parse().ok()?, name: name.to_owned(), stage: stage(state, reason) })
}

/// The job of `scontrol show job -o ID`.
pub(super) fn of_scontrol(text: &str) -> Option<Record> {
    let value = |key: &str| text.split_whitespace().find_map(|word| word.strip_prefix(key));
    let (state, reason) = (value("JobState=")?, value("Reason=").unwrap_or("None"));
    let (exit_code, signal) = exit(value("ExitCode=").unwrap_or("0:0"));
    let words = if reason == "None" { state.to_owned() } else { format!("{state} ({reason})") };
    Some(Record { stage: stage(state, reason), exit_code, signal, words })
}

/// The job of `sacct -X -n -P -o SACCT_FORMAT -j ID`.
pub(super) fn of_sacct(text: &str) -> Option<Record> {
    let (state, code) = text.lines().next_back()?.trim().split_once('|')?;
    let (exit_code, signal) = exit(code);
    Some(Record { stage: stage(state, "None"), exit_code, signal, words: state.to_owned() })
}

/// `3:0` is an exit with 3, `0:9` a death by signal 9.
fn exit(text: &str) -> (i32, i32) {
    let (code, signal) = text.split_once(':').unwrap_or((text, "0"));
    (code.parse().unwrap_or(0), signal.parse().unwrap_or(0))
}

/// A state this version has never heard of is one in which the job is not over: the next look tells more.
fn stage(state: &str, reason: &str) -> Stage {
    // `CANCELLED by 1000` and `CANCELLED+` are said, too.
    let state = state.split_whitespace().next().unwrap_or_default().trim_end_matches('+');
    let reason = reason.replace(' ', "_");
    let over = match state {
        "COMPLETED" => End::Completed,
        "FAILED" => End::Failed,
        "CANCELLED" | "REVOKED" => End::Cancelled,
        "TIMEOUT" | "DEADLINE" => End::TimedOut,
        "OUT_OF_MEMORY" => End::OutOfMemory,
        "PREEMPTED" | "NODE_FAIL" | "BOOT_FAIL" => End::Displaced,
        "PENDING" | "REQUEUE_HOLD" if HOPELESS.iter().any(|start| reason.starts_with(start)) => End::Hopeless,
        "RUNNING" | "COMPLETING" | "STAGE_OUT" | "SIGNALING" => return Stage::Runs,
        _ => return Stage::Waits,
    };
    Stage::Over(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Slurm 22.05 prints them, shortened where nothing is read.
    fn scontrol(state: &str, reason: &str, code: &str) -> Record {
        let text = format!(
            "JobId=1 JobName=dia-a UserId=root(0) MCS_label=N/A Priority=4294901759 QOS=(null) JobState={state} \
             Reason={reason} Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode={code} \
             RunTime=00:00:05 TimeLimit=UNLIMITED StartTime=2026-11-28T10:33:37 EndTime=Unknown Partition=main \
             Command=/a/JobState=x StdOut=/a/Reason=y Power= TresPerNode=gres:gpu:1 \n"
        );
        of_scontrol(&text).unwrap()
    }

    #[test]
    fn squeue_lists_jobs_and_where_they_stand() {
        let text = "3|dia-c|PENDING|Resources\n1|dia-a|RUNNING|None\n2|dia-b|CANCELLED|None\n\
                    4|j.sh|FAILED|BadConstraints\n5|d|PENDING|BeginTime\nslurm_load_jobs error: none\n\
                    6|d|PENDING|launch failed requeued held\n7|d|COMPLETING|None\n8|d|NEW_STATE|None\n";
        let found: Vec<(u64, Stage)> = rows(text).into_iter().map(|row| (row.id, row.stage)).collect();
        let expected = [
            (3, Stage::Waits),
            (1, Stage::Runs),
            (2, Stage::Over(End::Cancelled)),
            (4, Stage::Over(End::Failed)),
            (5, Stage::Waits),
            (6, Stage::Over(End::Hopeless)),
            (7, Stage::Runs),
            (8, Stage::Waits),
        ];
        assert_eq!(found, expected);
        assert_eq!(rows(text)[1].name, "dia-a");
    }

    #[test]
    fn a_jobs_record_says_how_its_program_ended() {
        let killed = scontrol("FAILED", "JobLaunchFailure", "0:9");
        assert_eq!((killed.stage, killed.exit_code, killed.signal), (Stage::Over(End::Failed), 0, 9));
        assert_eq!(killed.words, "FAILED (JobLaunchFailure)");
        assert_eq!(scontrol("FAILED", "NonZeroExitCode", "3:0").exit_code, 3);
        assert_eq!(scontrol("CANCELLED", "None", "0:15").words, "CANCELLED");
        assert_eq!(scontrol("OUT_OF_MEMORY", "OutOfMemory", "0:125").stage, Stage::Over(End::OutOfMemory));
        assert_eq!(
            scontrol("PENDING", "launch_failed_requeued_held", "0:0").stage,
            Stage::Over(End::Hopeless)
        );
        assert_eq!(of_scontrol("slurm_load_jobs error: Invalid job id specified\n"), None);
    }

    #[test]
    fn the_accounting_database_says_the_same_in_its_own_words() {
        let cancelled = of_sacct("CANCELLED by 1000|0:15\n").unwrap();
        assert_eq!((cancelled.stage, cancelled.signal), (Stage::Over(End::Cancelled), 15));
        assert_eq!(of_sacct("TIMEOUT|0:0").unwrap().stage, Stage::Over(End::TimedOut));
        assert_eq!(of_sacct("NODE_FAIL|1:0").unwrap().stage, Stage::Over(End::Displaced));
        assert_eq!(of_sacct(""), None);
        assert_eq!(of_sacct("Slurm accounting storage is disabled\n"), None);
    }
}
