//! The nodes' logs go into the run's directory before their containers go.

use std::{fs, io, path::Path};

use futures_util::{StreamExt, stream};
use netsplit_plan::plan::NodeName;
use netsplit_runtime::{NodeState, RuntimeError, Testnet};

/// Most lines that are kept of one node.
const LINES: usize = 100_000;
/// Logs read at the same time.
const AT_ONCE: usize = 8;

/// Writes `logs/NODE.log` of every node that was ever started below `directory`. Returns what could not be kept.
pub(crate) async fn collect(testnet: &dyn Testnet, directory: &Path) -> Vec<String> {
    let states = match testnet.states().await {
        Ok(states) => states,
        Err(error) => return vec![error.to_string()],
    };
    let started = states
        .into_iter()
        .filter(|(_, state)| *state != NodeState::Planned);
    stream::iter(started)
        .map(|(node, _)| async move {
            let lines = testnet.logs(&node, LINES).await;
            keep(&directory.join("logs"), &node, lines).err()
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|lost| async move { lost })
        .collect()
        .await
}

fn keep(
    directory: &Path,
    node: &NodeName,
    lines: Result<Vec<String>, RuntimeError>,
) -> Result<(), String> {
    let lost = |reason: String| format!("the log of `{node}` was not kept: {reason}");
    let mut text = lines.map_err(|error| lost(error.to_string()))?.join("\n");
    text.push('\n');
    let written: io::Result<()> = fs::create_dir_all(directory)
        .and_then(|()| fs::write(directory.join(format!("{node}.log")), text));
    written.map_err(|error| lost(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_log_that_could_not_be_read_is_named_and_one_that_could_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeName("full-1".to_owned());
        keep(
            directory.path(),
            &node,
            Ok(vec!["one".into(), "two".into()]),
        )
        .unwrap();
        let text = fs::read_to_string(directory.path().join("full-1.log")).unwrap();
        assert_eq!(text, "one\ntwo\n");
        let lost = keep(
            directory.path(),
            &node,
            Err(RuntimeError::new("no such container")),
        );
        assert_eq!(
            lost.unwrap_err(),
            "the log of `full-1` was not kept: no such container"
        );
    }
}
