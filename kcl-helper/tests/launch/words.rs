//! `--help` and `completions`.

use insta::assert_snapshot;

use crate::support::Stage;

#[test]
fn help_fits_on_a_screen() {
    let stage = Stage::new();
    let help = stage.run(&["--help"]);
    // The first two lines are the status and the name of the stream.
    let lines: Vec<&str> = help.lines().skip(2).collect();
    assert!(lines.len() <= 24, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{help}");
    assert_snapshot!(lines[..6].join("\n"), @r"
    Checks, launches and rehearses Amazon Kinesis record processors
    Usage: kcl-helper [OPTIONS] <COMMAND>
    First steps:
      kcl-helper local --sample         the sample processor, here and now
      kcl-helper check app.properties   how the daemon will read a file
      kcl-helper run app.properties     the real daemon
    ");
    for command in [
        "init",
        "check",
        "run",
        "record",
        "view",
        "jars",
        "print-command",
        "print-classpath",
        "completions",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("  {command} "))), "{command}");
    }
}

#[test]
fn completions_are_for_the_given_shell() {
    let stage = Stage::new();
    for (shell, beginning) in [
        ("bash", "_kcl__helper() {"),
        ("zsh", "#compdef kcl-helper"),
        ("fish", "# Print an optspec"),
    ] {
        let output = stage.helper(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.starts_with(beginning), "{shell}: {}", &script[..80]);
        assert!(script.contains("print-command") && script.contains("endpoint-url"), "{shell}");
        assert!(output.stderr.is_empty());
    }
    let script = stage.helper(&["completions", "bash"]).output().unwrap().stdout;
    let path = stage.write("completions.bash", String::from_utf8(script).unwrap());
    let read = kcl_fixtures::command("bash").arg("-n").arg(path).status().unwrap();
    assert!(read.success());
    assert_snapshot!(stage.run(&["completions", "perl"]), @r"
    status 2
    --- stderr
    error: invalid value 'perl' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

    For more information, try '--help'.
    ");
}
