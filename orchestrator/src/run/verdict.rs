//! From what happened to the verdict and the exit code: pure, and computed once.

use netsplit_runtime::Teardown;

use crate::{
    event::{StepResult, StepStatus, TeardownReport, Timings, Verdict},
    exit,
};

/// Something that keeps a run from passing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StepStatus,
    /// In one line, with all causes.
    pub(crate) message: String,
    /// Lines that help.
    pub(crate) hints: Vec<String>,
}

/// What happened, as far as the verdict depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) interrupted: bool,
    pub(crate) timed_out: bool,
    /// In the order they happened.
    pub(crate) failures: Vec<Failure>,
    pub(crate) steps: Vec<StepResult>,
    pub(crate) timings: Timings,
    /// The testnet was left running on purpose.
    pub(crate) kept: bool,
    /// `None` when nothing was removed.
    pub(crate) teardown: Option<Teardown>,
}

/// The verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) exit_code: u8,
    pub(crate) error: Option<String>,
    pub(crate) hints: Vec<String>,
    pub(crate) teardown: TeardownReport,
}

/// Judges a run: 130 > 3 > 124 > 4 > 1; 5 replaces only 0.
pub(crate) fn judge(facts: &Facts) -> Judged {
    let Facts {
        interrupted,
        timed_out,
        failures,
        steps: _,
        timings: _,
        kept,
        teardown,
    } = facts;
    let left = teardown
        .as_ref()
        .map(|teardown| teardown.left.clone())
        .unwrap_or_default();
    let mut codes: Vec<u8> = failures
        .iter()
        .map(|failure| code(failure.status))
        .collect();
    codes.extend(interrupted.then_some(exit::INTERRUPTED));
    codes.extend(timed_out.then_some(exit::TIMED_OUT));
    codes.extend((!left.is_empty()).then_some(exit::LEFT_BEHIND));
    let exit_code = exit::worst(codes);
    let verdict = verdict(exit_code);
    let cause = failures
        .iter()
        .find(|failure| code(failure.status) == exit_code);
    let error = match (verdict, cause) {
        (Verdict::Passed, _) => None,
        (_, Some(cause)) => Some(cause.message.clone()),
        (Verdict::Interrupted, None) => Some("interrupted".to_owned()),
        (Verdict::TimedOut, None) => Some("the whole run took longer than its timeout".to_owned()),
        _ => None,
    };
    let mut hints: Vec<String> = cause.iter().flat_map(|cause| cause.hints.clone()).collect();
    let others = failures.iter().filter(|failure| cause != Some(*failure));
    hints.extend(others.map(|other| format!("also: {}", other.message)));
    hints.extend(
        left.iter()
            .map(|left| format!("could not be removed: {left}")),
    );
    let teardown = TeardownReport {
        ok: left.is_empty(),
        kept: *kept,
        left,
    };
    Judged {
        verdict,
        exit_code,
        error,
        hints,
        teardown,
    }
}

const fn code(status: StepStatus) -> u8 {
    match status {
        StepStatus::Passed | StepStatus::Skipped => exit::PASSED,
        StepStatus::Failed => exit::FAILED,
        StepStatus::Inconclusive => exit::INCONCLUSIVE,
        StepStatus::Error => exit::INFRASTRUCTURE,
    }
}

const fn verdict(exit_code: u8) -> Verdict {
    match exit_code {
        exit::PASSED | exit::LEFT_BEHIND => Verdict::Passed,
        exit::FAILED => Verdict::Failed,
        exit::INCONCLUSIVE => Verdict::Inconclusive,
        exit::TIMED_OUT => Verdict::TimedOut,
        exit::INTERRUPTED => Verdict::Interrupted,
        _ => Verdict::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: StepStatus) -> Failure {
        Failure {
            status,
            message: format!("{status:?}"),
            hints: vec!["look".to_owned()],
        }
    }

    fn left() -> Option<Teardown> {
        Some(Teardown {
            removed: 1,
            left: vec!["network x".to_owned()],
        })
    }

    /// Every way to fail, strongest first, with the code of each.
    fn ladder() -> Vec<(u8, Verdict, Facts)> {
        use StepStatus::{Error, Failed, Inconclusive};
        let failing = |status| Facts {
            failures: vec![failure(status)],
            ..Facts::default()
        };
        vec![
            (
                130,
                Verdict::Interrupted,
                Facts {
                    interrupted: true,
                    ..Facts::default()
                },
            ),
            (3, Verdict::Error, failing(Error)),
            (
                124,
                Verdict::TimedOut,
                Facts {
                    timed_out: true,
                    ..Facts::default()
                },
            ),
            (4, Verdict::Inconclusive, failing(Inconclusive)),
            (1, Verdict::Failed, failing(Failed)),
            (
                5,
                Verdict::Passed,
                Facts {
                    teardown: left(),
                    ..Facts::default()
                },
            ),
            (0, Verdict::Passed, Facts::default()),
        ]
    }

    fn both(a: &Facts, b: &Facts) -> Facts {
        Facts {
            interrupted: a.interrupted || b.interrupted,
            timed_out: a.timed_out || b.timed_out,
            failures: [a.failures.clone(), b.failures.clone()].concat(),
            teardown: a.teardown.clone().or_else(|| b.teardown.clone()),
            ..Facts::default()
        }
    }

    #[test]
    fn the_stronger_of_any_two_wins_whatever_came_first() {
        let ladder = ladder();
        for (rank, (code, verdict, facts)) in ladder.iter().enumerate() {
            for (_, _, weaker) in &ladder[rank..] {
                for facts in [both(facts, weaker), both(weaker, facts)] {
                    let judged = judge(&facts);
                    assert_eq!(
                        (judged.exit_code, judged.verdict),
                        (*code, *verdict),
                        "{facts:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_error_of_the_run_and_of_the_teardown_are_both_told() {
        let facts = Facts {
            failures: vec![
                failure(StepStatus::Failed),
                failure(StepStatus::Inconclusive),
            ],
            teardown: left(),
            ..Facts::default()
        };
        let judged = judge(&facts);
        assert_eq!(judged.error.as_deref(), Some("Inconclusive"));
        assert_eq!(
            judged.hints,
            ["look", "also: Failed", "could not be removed: network x"]
        );
        assert_eq!(
            judged.teardown,
            TeardownReport {
                ok: false,
                kept: false,
                left: vec!["network x".to_owned()]
            }
        );
    }
}
