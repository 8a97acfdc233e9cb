//! The whole vocabulary of every reporter on a few screens.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use netsplit_api::event::{Event, EventRecord};
use netsplit_runtime::{RunId, Teardown, Timestamp};
use serde_json::{Value, json};

use super::{
    Reporter, RunDirectory, Summary, Terminal, evidence, failure, failure_by_hand, json_line,
    junit,
    lines::{step_word, verdict_word},
    tally,
};
use crate::{
    event::{
        RunEvent, RunEventKind, RunReport, StepResult, StepStatus, TeardownReport, Timings, Verdict,
    },
    exit,
    ui::{Ui, WORD_WIDTH},
};

fn evidence_of(change: &str, problem: Option<&str>) -> Value {
    json!({
        "change": change,
        "pairs_intended": 40,
        "probes": { "cut_pairs": 40, "silent": 40, "open_pairs": 32, "reached": 32 },
        "dropped": [{ "id": "cut", "protocol": 17, "probes": 120, "group": 0 }],
        "elapsed_ms": 131,
        "problems": problem.into_iter().collect::<Vec<_>>(),
    })
}

fn step(index: usize, kind: &str, text: &str, status: StepStatus, message: &str) -> StepResult {
    let started_ms = 200 + 1_000 * u64::try_from(index).unwrap();
    StepResult {
        index,
        kind: kind.into(),
        id: None,
        text: text.into(),
        status,
        started_ms,
        elapsed_ms: 250,
        evidence: Value::Null,
        message: message.into(),
    }
}

fn steps() -> Vec<StepResult> {
    let wait = "wait: { converged: { min_height: 105 }, within: 60s }";
    let mut cut = step(
        2,
        "partition",
        "partition: cut",
        StepStatus::Passed,
        "in force",
    );
    (cut.evidence, cut.id) = (evidence_of("cut", None), Some("cut".into()));
    let mut heal = step(3, "heal", "heal: cut", StepStatus::Passed, "over");
    heal.evidence = evidence_of("heal", None);
    vec![
        step(1, "wait", wait, StepStatus::Passed, "8 nodes at height 105"),
        cut,
        heal,
        step(
            4,
            "assert",
            "assert: { converged: {} }",
            StepStatus::Passed,
            "8 nodes at height 109",
        ),
    ]
}

fn report() -> RunReport {
    RunReport {
        topology: "partition".into(),
        run_id: "partition-7f3a9c21".into(),
        seed: 42,
        runtime: "docker".into(),
        verdict: Verdict::Passed,
        exit_code: exit::PASSED,
        steps: steps(),
        timings: Timings {
            up_ms: Some(812),
            ready_ms: Some(240),
            down_ms: Some(1_610),
        },
        teardown: TeardownReport {
            ok: true,
            kept: false,
            left: Vec::new(),
        },
        command: "netsplit test topologies/partition.yaml --seed 42".into(),
        error: None,
        hints: Vec::new(),
    }
}

fn failed() -> RunReport {
    let mut report = report();
    report.verdict = Verdict::Failed;
    report.exit_code = exit::FAILED;
    report.steps.truncate(2);
    let message = "not within 30 s: 2 tips: full-1 at 107, full-2 at 109";
    report.steps.push(step(
        3,
        "assert",
        "assert: { converged: {} }",
        StepStatus::Failed,
        message,
    ));
    report.steps.push(step(
        4,
        "mine",
        "mine: { node: miner-1 }",
        StepStatus::Skipped,
        "",
    ));
    report.error = Some("step 3 did not hold: 2 tips: full-1 at 107, full-2 at 109".into());
    report.hints = vec!["the fault `cut` was still in force".into()];
    report.teardown = TeardownReport {
        ok: false,
        kept: false,
        left: vec!["network netsplit-x: busy".into()],
    };
    report
}

/// One of every kind of event, in an order in which they could come.
fn every_kind() -> Vec<RunEventKind> {
    let [wait, cut, heal, assert] = <[StepResult; 4]>::try_from(steps()).unwrap();
    let phase = |name: &str| RunEventKind::PhaseStarted {
        name: name.into(),
        total: 9,
    };
    let item = |name: &str, item: &str| RunEventKind::PhaseAdvanced {
        name: name.into(),
        item: item.into(),
    };
    let fault = |in_force, evidence| RunEventKind::FaultChanged {
        id: "cut".into(),
        in_force,
        evidence,
    };
    let other = |status, message| {
        RunEventKind::StepFinished(step(5, "assert", "assert: { supply: {} }", status, message))
    };
    vec![
        RunEventKind::RunStarted {
            run: RunId("partition-7f3a9c21".into()),
            topology: "partition".into(),
            description: "Two halves mine apart.".into(),
            seed: 42,
            runtime: "docker".into(),
            nodes: 9,
            steps: 5,
            command: "netsplit test partition.yaml --seed 42".into(),
        },
        phase("image"),
        item("image", "netsplit/node:7f3a9c21, 8.1 MB"),
        phase("create"),
        item("create", "full-1"),
        RunEventKind::NodesStarted { elapsed_ms: 812 },
        RunEventKind::PhaseWaiting {
            name: "ready".into(),
            status: "full-1 has 2 of 8 peers".into(),
        },
        RunEventKind::PhaseWaiting {
            name: "ready".into(),
            status: "full-1 has 3 of 8 peers".into(),
        },
        RunEventKind::Ready { elapsed_ms: 240 },
        RunEventKind::StepStarted {
            index: 1,
            text: wait.text.clone(),
        },
        RunEventKind::StepWaiting {
            index: 1,
            status: "full-1 at height 104".into(),
        },
        RunEventKind::StepFinished(wait),
        RunEventKind::StepStarted {
            index: 2,
            text: cut.text.clone(),
        },
        fault(true, cut.evidence.clone()),
        RunEventKind::StepFinished(cut),
        RunEventKind::StepStarted {
            index: 3,
            text: heal.text.clone(),
        },
        fault(false, evidence_of("heal", Some("`cut` was vacuous"))),
        RunEventKind::StepFinished(heal),
        RunEventKind::StepFinished(assert),
        other(StepStatus::Failed, "full-1 has 50 BTC too many"),
        other(StepStatus::Inconclusive, "12 events of `full-1` were lost"),
        other(StepStatus::Error, "`full-1` exited with code 101"),
        other(StepStatus::Skipped, ""),
        RunEventKind::Node {
            node: "full-1".into(),
            record: EventRecord {
                seq: 1,
                time_ns: 0,
                event: Event::EventsLost { count: 3 },
            },
        },
        RunEventKind::Warned {
            message: "the fault `cut` was still in force at the end".into(),
        },
        phase("remove"),
        RunEventKind::TornDown(Teardown {
            removed: 12,
            left: vec!["network netsplit-x: busy".into()],
        }),
        RunEventKind::RunFinished(Box::new(report())),
    ]
}

/// Every event comes twelve seconds after the one before.
fn every_event() -> impl Iterator<Item = RunEvent> {
    let at = |index: u64| Timestamp(12_000_000_000 * index);
    (1..).zip(every_kind()).map(move |(index, kind)| RunEvent {
        at: at(index),
        kind,
    })
}

#[test]
fn the_whole_vocabulary_lines_up() {
    let (ui, captured) = Ui::captured(false);
    let mut terminal = Terminal::new(ui);
    every_event().for_each(|event| terminal.on_event(&event));
    insta::assert_snapshot!(captured.err());
    assert_eq!(captured.out(), "", "what is going on is not data");
}

#[test]
fn quiet_says_nothing() {
    let (ui, captured) = Ui::captured(true);
    let mut terminal = Terminal::new(ui);
    every_event().for_each(|event| terminal.on_event(&event));
    assert_eq!(captured.err(), "");
}

#[test]
fn every_status_word_fits_its_column() {
    let steps = [
        StepStatus::Passed,
        StepStatus::Failed,
        StepStatus::Inconclusive,
        StepStatus::Error,
        StepStatus::Skipped,
    ];
    let verdicts = [
        Verdict::Passed,
        Verdict::Failed,
        Verdict::Inconclusive,
        Verdict::Error,
        Verdict::TimedOut,
        Verdict::Interrupted,
    ];
    let words = steps.map(|status| step_word(status).0).into_iter();
    for word in words.chain(verdicts.map(|verdict| verdict_word(verdict).0)) {
        assert!(word.len() <= WORD_WIDTH, "{word}");
    }
}

#[test]
fn a_run_that_passed_is_summed_up() {
    let (report, directory) = (report(), Path::new("/state/netsplit/partition-7f3a9c21"));
    let summary = Summary {
        report: &report,
        directory,
        kept: false,
    };
    insta::assert_snapshot!(summary.render(false, false));
    insta::assert_snapshot!(summary.render(false, true), @"      PASSED [   6.060s] partition: 4 of 4 steps passed, seed 42, docker");
}

#[test]
fn a_run_that_failed_is_summed_up_with_what_helps() {
    let (report, directory) = (failed(), Path::new("/state/netsplit/partition-7f3a9c21"));
    let summary = Summary {
        report: &report,
        directory,
        kept: true,
    };
    insta::assert_snapshot!(summary.render(false, false));
    let (ui, captured) = Ui::captured(true);
    failure(&ui, &report);
    insta::assert_snapshot!(captured.err(), @r"
    error: step 3 did not hold: 2 tips: full-1 at 107, full-2 at 109
    hint: the fault `cut` was still in force
    warning: left behind: network netsplit-x: busy
    hint: `netsplit gc` tries again to remove what was left
    ");
}

/// A failure was once told three times: live, in the summary, and as an error.
#[test]
fn what_was_told_live_is_not_told_again() {
    let mut report = failed();
    let message = report.steps[2].message.clone();
    report.error = Some(format!("step 3 `assert: {{ converged: {{}} }}`: {message}"));
    let (ui, captured) = Ui::captured(false);
    let mut terminal = Terminal::new(ui.clone());
    let kind = RunEventKind::StepFinished(report.steps[2].clone());
    let at = Timestamp(0);
    terminal.on_event(&RunEvent { at, kind });
    failure(&ui, &report);
    let screen = captured.err();
    assert_eq!(screen.matches(&message).count(), 1, "{screen}");
    assert!(screen.contains("hint: the fault `cut`"), "{screen}");

    let (quiet, captured) = Ui::captured(true);
    failure(&quiet, &report);
    assert_eq!(captured.err().matches(&message).count(), 1);
}

#[test]
fn by_hand_a_failure_is_the_error_of_the_command() {
    let mut report = failed();
    report.steps.drain(..2);
    report.steps.truncate(1);
    let message = report.steps[0].message.clone();
    report.error = Some(format!("step 1 `assert: converged`: {message}"));
    let (ui, captured) = Ui::captured(false);
    let mut terminal = Terminal::by_hand(ui.clone());
    let kind = RunEventKind::StepFinished(report.steps[0].clone());
    let at = Timestamp(0);
    terminal.on_event(&RunEvent { at, kind });
    failure_by_hand(&ui, &report);
    let screen = captured.err();
    assert_eq!(screen.matches(&message).count(), 1, "{screen}");
    assert!(screen.contains(&format!("error: {message}")), "{screen}");
}

#[test]
fn a_run_ended_before_anything_was_made_removes_nothing() {
    let (ui, captured) = Ui::captured(false);
    let kind = RunEventKind::TornDown(Teardown::default());
    let at = Timestamp(0);
    Terminal::new(ui).on_event(&RunEvent { at, kind });
    assert_eq!(
        captured.err().trim(),
        "Removed nothing, there was nothing to remove"
    );
}

#[test]
fn evidence_is_unfolded_for_reading() {
    let mut lines = evidence::lines(&json!({
        "change": "cut",
        "probes": { "silent": 3, "leaks": [] },
        "problems": ["a", "b"],
        "dropped": [{ "id": "cut", "protocol": 0 }],
        "sample": null,
    }));
    let expected = [
        "change: cut",
        "dropped[1].id: cut",
        "dropped[1].protocol: 0",
        "probes.silent: 3",
        "problems: a, b",
    ];
    lines.sort();
    assert_eq!(lines, expected);
}

#[test]
fn colours_only_add() {
    let (report, directory) = (failed(), Path::new("/state"));
    let summary = Summary {
        report: &report,
        directory,
        kept: false,
    };
    let mut plain = String::new();
    let coloured = summary.render(true, false);
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    let without_padding = |text: &str| {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        without_padding(&plain),
        without_padding(&summary.render(false, false))
    );
}

#[test]
fn several_topologies_are_counted() {
    assert_eq!(
        tally(3, &[0, 1]),
        "       Total 1 of 3 topologies passed, 1 not run"
    );
    assert_eq!(tally(1, &[0]), "       Total 1 of 1 topology passed");
}

#[test]
fn junit_has_a_suite_per_topology_and_a_case_per_step() {
    let mut document = quick_junit::Report::new("netsplit");
    document.add_test_suite(junit::suite(&report()));
    document.add_test_suite(junit::suite(&failed()));
    insta::assert_snapshot!(document.to_string().unwrap());
}

#[test]
fn a_run_that_never_started_is_no_pass_in_junit() {
    let mut report = report();
    report.verdict = Verdict::Error;
    report.steps.clear();
    report.error = Some("failed to create network `netsplit-x`".into());
    let suite = junit::suite(&report);
    assert_eq!((suite.tests, suite.errors), (1, 1));
}

#[test]
fn the_json_verdict_has_the_fields_of_the_contract() {
    let value: Value = serde_json::from_str(&json_line(&failed())).unwrap();
    insta::assert_json_snapshot!(value);
}

#[test]
fn evidence_that_is_unknown_is_not_shown() {
    assert_eq!(evidence::line(&Value::Null), "");
    assert_eq!(evidence::line(&json!({ "txid": "ab" })), "");
    assert_eq!(evidence::milliseconds(999), "999 ms");
    assert_eq!(evidence::milliseconds(1_009), "1.009 s");
}

#[test]
fn a_run_leaves_its_directory_behind() {
    let home = tempfile::tempdir().unwrap();
    let run = RunId("partition-7f3a9c21".into());
    let directory = RunDirectory::create_in(home.path(), &run, "name: x\n", "{}\n").unwrap();
    let mut recorder = directory.recorder(Ui::captured(true).0);
    every_event().for_each(|event| recorder.on_event(&event));
    drop(recorder);
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(read("topology.yaml"), "name: x\n");
    assert_eq!(read("plan.json"), "{}\n");
    assert_eq!(
        serde_json::from_str::<RunReport>(&read("verdict.json")).unwrap(),
        report()
    );
    let events = read("events.ndjson");
    assert_eq!(events.lines().count(), every_kind().len());
    for line in events.lines() {
        serde_json::from_str::<RunEvent>(line).unwrap();
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_told_once_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let run = RunId("x-1".into());
    let directory = RunDirectory::create_in(home.path(), &run, "", "").unwrap();
    let (ui, captured) = Ui::captured(true);
    let mut recorder = directory.recorder(ui);
    std::fs::remove_dir_all(directory.path()).unwrap();
    every_event().for_each(|event| recorder.on_event(&event));
    assert_eq!(captured.err().lines().count(), 1);
    assert!(
        captured
            .err()
            .starts_with("warning: the run is no longer recorded in")
    );
}
