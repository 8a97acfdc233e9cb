//! One page with the help of every command: no flag comes, goes or changes unnoticed.

use std::fmt::Write;

use clap::Command;

fn write_help(command: &mut Command, path: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    writeln!(page, "## {path}\n\n{help}").unwrap();
    for sub in command.get_subcommands_mut() {
        let path = format!("{path} {}", sub.get_name());
        write_help(sub, &path, page);
    }
}

/// They once filled most of every page.
#[test]
fn common_options_are_explained_once() {
    let mut command = netsplit::cli::definition().term_width(100);
    command.build();
    let explained = "Static `netsplit-node` executable";
    assert!(command.render_long_help().to_string().contains(explained));
    for sub in command.get_subcommands_mut() {
        let page = sub.render_long_help().to_string();
        assert!(!page.contains(explained), "{page}");
        assert!(page.contains("Common options") && page.contains("--node-binary"));
        assert!(sub.render_help().to_string().contains("Common options:"));
    }
}

#[test]
fn the_reference() {
    let mut command = netsplit::cli::definition().term_width(100);
    command.build();
    let mut page = String::new();
    write_help(&mut command, "netsplit", &mut page);
    let page: Vec<&str> = page.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(page.join("\n"));
}

#[test]
fn the_definition_is_sound() {
    netsplit::cli::definition().debug_assert();
}

#[test]
fn every_flag_has_a_variable() {
    fn check(command: &Command) {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else {
                continue;
            };
            if matches!(long, "help" | "version") {
                continue;
            }
            let variable = format!("NETSPLIT_{}", long.to_uppercase().replace('-', "_"));
            let found = argument
                .get_env()
                .map(|name| name.to_string_lossy().into_owned());
            assert_eq!(found, Some(variable), "--{long} of {}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&netsplit::cli::definition());
}

#[test]
fn hidden_subcommands_are_not_shown() {
    let definition = netsplit::cli::definition();
    for hidden in ["agent", "reaper", "supervisor", "node"] {
        assert!(definition.find_subcommand(hidden).is_none(), "{hidden}");
    }
    assert!(netsplit::hidden::main(&["test".into(), "node".into()]).is_none());
}
