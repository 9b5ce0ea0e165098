//! `kcl-helper init`: its messages, and that the new project builds, passes its tests and `check`, and runs.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use insta::assert_snapshot;
use kcl_fixtures::Stage;

fn run(stage: &Stage, arguments: &[&str]) -> String {
    show(stage, &stage.helper(arguments).output().unwrap())
}

fn show(stage: &Stage, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = format!(
        "status {}\n{}{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    );
    stage.without_folder(&text).replace(checkout().to_str().unwrap(), "CHECKOUT")
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

#[test]
fn project_and_next_commands_are_reported() {
    let stage = Stage::new();
    assert_snapshot!(
        run(&stage, &["init", "my-app", "--stream", "words", "--region", "eu-west-1", "--application", "My.App"]),
        @r"
    status 0
    my-app: application My.App, stream words in eu-west-1
      .dockerignore
      .gitignore
      Cargo.toml
      Dockerfile
      README.md
      app.properties
      iam-policy.json
      my-app.service
      src/main.rs
    it depends on CHECKOUT/kcl-runtime
    next:
      cd my-app
      cargo test
      cargo build && KCL_HELPER local -- target/debug/my-app
    "
    );
    assert_snapshot!(run(&stage, &["init", "by-version", "--checkout", "none", "-q"]), @"status 0");
    let manifest = fs::read_to_string(stage.path("by-version/Cargo.toml")).unwrap();
    assert!(manifest.ends_with("kcl-runtime = \"0.1.0\"\n"), "{manifest}");
}

#[test]
fn failed_init_leaves_nothing() {
    let stage = Stage::new();
    let names = || {
        let entries = fs::read_dir(stage.root()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = names();
    let texts = [
        run(&stage, &["init", "My App"]),
        run(&stage, &["init", ".."]),
        run(&stage, &["init", "ab"]),
        run(&stage, &["init", "my-app", "--stream", "my words"]),
        run(&stage, &["init", "my-app", "--checkout", "/"]),
        run(&stage, &["init", "no folder/my-app"]),
        run(&stage, &["init", "/dev/null/my-app"]),
    ];
    assert_eq!(names(), before);
    assert_snapshot!(texts.concat(), @"
    status 2
    error: the name `My App` is invalid: use a lower-case letter, then up to 62 lower-case letters, digits, - and _, but no word that is reserved by Rust or cargo
    hint: write kcl-helper init my-app
    status 2
    error: cannot create `..`: it is not a name
    hint: write kcl-helper init my-app
    status 2
    error: the application `ab` is invalid: use 3 to 128 letters, digits, -, _ and ., as for the names of DynamoDB tables
    hint: choose another one with --application
    status 2
    error: invalid value 'my words' for '--stream <STREAM>': use 1 to 128 letters, digits, -, _ and .

    For more information, try '--help'.
    status 2
    error: --checkout / is invalid: it does not contain kcl-runtime
    hint: write the folder that contains kcl-runtime/Cargo.toml
    status 2
    error: cannot create no folder/my-app: no folder is not a folder
    hint: run mkdir -p 'no folder'
    status 2
    error: cannot create /dev/null/my-app: /dev/null is not a folder
    ");
    fs::create_dir(stage.path("my-app")).unwrap();
    assert_snapshot!(run(&stage, &["init", "my-app"]), @"
    status 2
    error: my-app already exists; not overwritten
    hint: choose another name, or remove it first
    ");
}

/// It needs no registry: the lock file is the workspace's, whose packages are already downloaded.
#[test]
fn new_project_builds_passes_its_tests_and_runs() {
    let stage = Stage::new();
    assert!(run(&stage, &["init", "my-app", "--stream", "words"]).starts_with("status 0"));
    let project = stage.path("my-app");
    fs::copy(checkout().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let cargo = |arguments: &[&str]| {
        let output = kcl_fixtures::command(env!("CARGO"))
            .args(arguments)
            .args(["--offline", "--quiet"])
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("init"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", show(&stage, &output));
        show(&stage, &output)
    };
    let tests = cargo(&["test"]);
    assert!(tests.contains("test result: ok. 2 passed"), "{tests}");
    cargo(&["build"]);
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("init/debug/my-app");
    fs::create_dir_all(project.join("target/debug")).unwrap();
    fs::copy(program, project.join("target/debug/my-app")).unwrap();

    let helper = |arguments: &[&str]| {
        show(&stage, &stage.helper(arguments).current_dir(&project).output().unwrap())
    };
    assert_eq!(
        helper(&["check", "app.properties"]),
        "status 0\nnote: daemon 3.1.3 can stall or lose leases: see #1669, #1718, #1765, #1788, #1744 of \
         amazon-kinesis-client; all are fixed in 3.5.1\napp.properties: no errors, no warnings\n"
    );
    fs::write(project.join("words"), "cat\ndog\n").unwrap();
    let run = helper(&["local", "-i", "words", "--", "target/debug/my-app"]);
    assert!(run.starts_with("status 0"), "{run}");
    assert!(run.contains(": cat") && run.contains(": dog"), "{run}");
}
