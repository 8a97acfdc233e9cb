//! `netsplit doctor`.

use netsplit_runtime::Diagnosis;

use super::{Context, options::Format, runtimes};
use crate::{
    error::CommandError,
    exit,
    ui::{
        WORD_WIDTH,
        style::{Tone, paint},
    },
};

/// Try everything a run needs and say what works
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: Args, context: &Context) -> Result<u8, CommandError> {
    let by_runtime = runtimes::doctor(context).await?;
    // One that works is enough to run testnets.
    let healthy = by_runtime
        .iter()
        .any(|diagnoses| diagnoses.iter().all(|diagnosis| diagnosis.ok));
    let diagnoses = by_runtime.concat();
    match context.options.format {
        Format::Json => context.ui.json(&diagnoses)?,
        Format::Table => context
            .ui
            .data(&render(&diagnoses, context.ui.out_colour()))?,
    }
    Ok(if healthy {
        exit::PASSED
    } else {
        exit::INFRASTRUCTURE
    })
}

fn render(diagnoses: &[Diagnosis], colour: bool) -> String {
    let lines: Vec<String> = diagnoses
        .iter()
        .flat_map(|diagnosis| lines(diagnosis, colour))
        .collect();
    lines.join("\n")
}

fn lines(diagnosis: &Diagnosis, colour: bool) -> Vec<String> {
    let Diagnosis {
        what,
        ok,
        detail,
        hint,
    } = diagnosis;
    let (word, tone) = if *ok {
        ("works", Tone::Good)
    } else {
        ("broken", Tone::Bad)
    };
    let line = |word: &str, tone, text: &str| {
        format!(
            "{} {text}",
            paint(colour, tone, &format!("{word:>WORD_WIDTH$}"))
        )
    };
    let first = line(word, tone, &format!("{what}: {detail}"));
    let hint = hint.as_ref().map(|hint| line("hint", Tone::Busy, hint));
    std::iter::once(first).chain(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_comes_with_a_hint() {
        let diagnosis = |what: &str, ok, detail: &str, hint: Option<&str>| Diagnosis {
            what: what.into(),
            ok,
            detail: detail.into(),
            hint: hint.map(Into::into),
        };
        let diagnoses = [
            diagnosis("engine", true, "20.10.24, API 1.41", None),
            diagnosis(
                "bridge table",
                false,
                "no such module",
                Some("run `modprobe nf_tables`"),
            ),
        ];
        insta::assert_snapshot!(render(&diagnoses, false), @r"
               works engine: 20.10.24, API 1.41
              broken bridge table: no such module
                hint run `modprobe nf_tables`
        ");
    }
}
