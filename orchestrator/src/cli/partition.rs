//! `netsplit partition`.

use clap::ArgGroup;
use serde_json::{Map, Value, json};

use super::{Context, options::Target, steps};
use crate::error::CommandError;

/// Cut groups of nodes from each other, and show that they are cut
///
/// Groups are separated by `/`, selectors within a group by `,`: a node, a group, `role:miner`, `zone:eu`, `all`, or
/// `rest` for everyone not named. Nodes in no group stay connected to all. Returns once the cut is in force and every
/// cut pair was probed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("what").args(["groups", "shape"]).required(true))]
pub(super) struct Args {
    /// Groups to cut from each other, e.g. `a,b/c,rest`
    #[arg(value_name = "GROUPS", value_parser = parse_groups)]
    groups: Option<Groups>,
    /// Shape of the cut in place of groups: `halves`, or `isolate` with `--of`
    #[arg(long, value_name = "SHAPE")]
    shape: Option<String>,
    /// Whom the shape is about, e.g. `full-1` for `isolate`
    #[arg(long, value_name = "SELECTOR", requires = "shape")]
    of: Option<String>,
    /// Drop only packets from the first group to the second
    #[arg(long)]
    one_way: bool,
    /// What to call the cut, for `netsplit heal`
    #[arg(long, value_name = "ID", default_value = "cut")]
    id: String,
    /// Heal after this long, e.g. `30s`; the command waits for it
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    #[command(flatten)]
    target: Target,
}

const EXAMPLES: &str = "\
Examples:
  netsplit partition zone:eu/rest
  netsplit partition miner-1,full-1/miner-2,full-2 --id cut";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Groups(Vec<Vec<String>>);

fn parse_groups(text: &str) -> Result<Groups, String> {
    let groups: Vec<Vec<String>> = text
        .split('/')
        .map(|group| {
            group
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect()
        })
        .collect();
    if groups.iter().flatten().any(String::is_empty) {
        return Err("a name is missing; groups look like `a,b/c,d`".to_owned());
    }
    if groups.len() < 2 {
        return Err("there is only one group; separate groups by `/`, e.g. `a,b/rest`".to_owned());
    }
    Ok(Groups(groups))
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    steps::one(context, args.target.name.as_deref(), step(&args)).await
}

fn step(args: &Args) -> Value {
    let mut arguments = Map::from_iter([("id".to_owned(), json!(args.id))]);
    if let Some(Groups(groups)) = &args.groups {
        let groups: Vec<Value> = groups.iter().map(|group| group_value(group)).collect();
        arguments.insert("groups".to_owned(), json!(groups));
    }
    let optional = [
        ("shape", &args.shape),
        ("of", &args.of),
        ("for", &args.duration),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            arguments.insert(key.to_owned(), json!(value));
        }
    }
    if args.one_way {
        arguments.insert("one_way".to_owned(), json!(true));
    }
    json!({ "partition": arguments })
}

/// `rest` stands alone, as in topologies.
fn group_value(group: &[String]) -> Value {
    match group {
        [only] if only == "rest" => json!("rest"),
        names => json!(names),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn groups_are_split_at_slashes_and_commas() {
        let groups = parse_groups("a, b/zone:eu/rest").unwrap();
        assert_eq!(groups.0, [vec!["a", "b"], vec!["zone:eu"], vec!["rest"]]);
        assert!(parse_groups("a,b").unwrap_err().contains("only one group"));
        assert!(parse_groups("a,/b").is_err());
        assert!(parse_groups("").is_err());
    }

    #[test]
    fn the_step_is_written_as_in_a_topology() {
        let args = Args {
            groups: Some(parse_groups("a,b/rest").unwrap()),
            shape: None,
            of: None,
            one_way: true,
            id: "x".into(),
            duration: Some("5s".into()),
            target: Target { name: None },
        };
        let expected = json!({ "partition": {
            "id": "x", "groups": [["a", "b"], "rest"], "one_way": true, "for": "5s"
        } });
        assert_eq!(step(&args), expected);
    }
}
