//! `print-command` and `print-classpath`.

use std::fs;

use insta::assert_snapshot;

use crate::support::{Stage, fill_with_hollow_jars};

/// 1.15.3 has the shortest list of jars.
const V1: [&str; 2] = ["--kcl-version", "1.15.3"];

#[test]
fn missing_folder_of_jars_is_a_warning() {
    let stage = Stage::new();
    assert_snapshot!(
        stage.run(&["print-command", "--plain-jvm", "--java", "java", "--properties", "app.properties"]),
        @"
    status 0
    --- stdout
    java -Dfile.encoding=UTF-8 -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/app.properties
    --- stderr
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    "
    );
    assert_snapshot!(stage.run(&["print-classpath", "-c", "extra.jar"]), @"
    status 0
    --- stdout
    STAGE/extra.jar
    --- stderr
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    ");
}

#[test]
fn class_path_without_jars_is_an_empty_line() {
    let stage = Stage::new();
    let text = stage.run(&["print-classpath"]);
    assert!(text.starts_with("status 0\n--- stdout\n\n--- stderr\nwarning: no jars of "), "{text}");
    let help = stage.run(&["print-classpath", "--help"]);
    let sentence = "If there are no jars and no other paths, the line is empty";
    assert!(help.contains(sentence), "{help}");
}

#[test]
fn class_path_is_user_paths_then_jars_then_properties_folder() {
    let stage = Stage::new();
    fill_with_hollow_jars(&stage, "1.15.3");
    let arguments = ["print-classpath", "-c", "b.jar", "-c", "/a.jar", "-p", "conf/app.properties"];
    let text = stage.run(&[&arguments[..], &V1].concat());
    let jars: Vec<&str> = text.lines().nth(2).unwrap().split(':').collect();
    assert_eq!(jars[..2], ["STAGE/b.jar", "/a.jar"]);
    assert_eq!(jars[jars.len() - 1], "STAGE/conf");
    let fetched = &jars[2..jars.len() - 1];
    assert_eq!(fetched.len(), 26);
    assert!(fetched.is_sorted());
    assert_eq!(text.lines().count(), 3, "nothing on stderr: {text}");
}

#[test]
fn missing_jar_is_a_warning_and_is_left_out() {
    let stage = Stage::new();
    fill_with_hollow_jars(&stage, "1.15.3");
    fs::remove_file(stage.path("cache/jars/1.15.3/joda-time-2.8.1.jar")).unwrap();
    let text = stage.run(&[&["print-classpath"][..], &V1].concat());
    assert!(!text.contains("joda-time"));
    let words: Vec<&str> = text.lines().skip_while(|line| *line != "--- stderr").collect();
    assert_snapshot!(words.join("\n"), @"
    --- stderr
    warning: 1 jar of 1.15.3 missing in STAGE/cache/jars/1.15.3
    hint: run kcl-helper jars fetch --kcl-version 1.15.3
    ");
}

/// Runs a line in a shell.
fn recorded(stage: &Stage, script: &str) -> String {
    let output = kcl_fixtures::command("sh").args(["-c", script]).output().unwrap();
    stage.outcome(&output)
}

/// The cache is empty, so the class path has only the user's path and the file's folder.
#[test]
fn plain_paths_work_in_backticks() {
    let stage = Stage::new();
    let java = stage.script("java", "for word; do echo \"[$word]\"; done\n");
    let output = stage
        .helper(&["print-command", "-j", java.to_str().unwrap(), "-p", "app.properties", "-c", "x"])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_snapshot!(recorded(&stage, &format!("`echo '{}'`", line.trim_end())), @"
    status 0
    --- stdout
    [-XX:+UseSerialGC]
    [-Xms192m]
    [-Xmn64m]
    [-XX:MetaspaceSize=96m]
    [-XX:Tier4InvocationThreshold=50000]
    [-XX:Tier4CompileThreshold=150000]
    [-Dfile.encoding=UTF-8]
    [-cp]
    [STAGE/x:STAGE]
    [software.amazon.kinesis.multilang.MultiLangDaemon]
    [--properties-file]
    [STAGE/app.properties]
    ");
}

#[test]
fn path_with_space_is_quoted_with_a_warning() {
    let stage = Stage::new();
    let java = stage.script("my java", "for word; do echo \"[$word]\"; done\n");
    let arguments =
        ["print-command", "--plain-jvm", "-j", java.to_str().unwrap(), "-p", "my app.properties"];
    let output = stage.helper(&arguments).output().unwrap();
    assert_snapshot!(stage.outcome(&output), @r#"
    status 0
    --- stdout
    'STAGE/my java' -Dfile.encoding=UTF-8 -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file 'STAGE/my app.properties'
    --- stderr
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    warning: a word had to be quoted: $(…) and backticks cannot run this line
    hint: use eval "$(kcl-helper print-command …)", or kcl-helper run
    "#);
    let line = String::from_utf8(output.stdout).unwrap();
    assert_snapshot!(recorded(&stage, &line), @"
    status 0
    --- stdout
    [-Dfile.encoding=UTF-8]
    [-cp]
    [STAGE]
    [software.amazon.kinesis.multilang.MultiLangDaemon]
    [--properties-file]
    [STAGE/my app.properties]
    ");
    assert_snapshot!(stage.run(&[&arguments[..], &["--raw"]].concat()), @r#"
    status 0
    --- stdout
    STAGE/my java -Dfile.encoding=UTF-8 -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/my app.properties
    --- stderr
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    warning: a word would be split: $(…) and backticks cannot run this line
    hint: use eval "$(kcl-helper print-command …)", or kcl-helper run
    "#);
    assert_snapshot!(stage.run(&[&arguments[..], &["--format", "json"]].concat()), @r#"
    status 0
    --- stdout
    [
      "STAGE/my java",
      "-Dfile.encoding=UTF-8",
      "-cp",
      "STAGE",
      "software.amazon.kinesis.multilang.MultiLangDaemon",
      "--properties-file",
      "STAGE/my app.properties"
    ]
    --- stderr
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    "#);
}

#[test]
fn each_version_has_its_main_class_and_argument_form() {
    let stage = Stage::new();
    let mut lines = String::new();
    for version in ["1.15", "2.2.0", "2.x", "3.1.3"] {
        let text = stage.run(&[
            "-qq",
            "print-command",
            "--plain-jvm",
            "-j",
            "j",
            "-p",
            "f",
            "-l",
            "log",
            "--kcl-version",
            version,
        ]);
        lines.push_str(&text);
    }
    assert_snapshot!(lines, @"
    status 0
    --- stdout
    j -Dfile.encoding=UTF-8 -Djava.util.logging.config.file=STAGE/log -cp STAGE com.amazonaws.services.kinesis.multilang.MultiLangDaemon STAGE/f
    status 0
    --- stdout
    j -Dfile.encoding=UTF-8 -Dlogback.configurationFile=STAGE/log -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon STAGE/f
    status 0
    --- stdout
    j -Dfile.encoding=UTF-8 -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/f --log-configuration STAGE/log
    status 0
    --- stdout
    j -Dfile.encoding=UTF-8 -cp STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/f --log-configuration STAGE/log
    ");
    assert_snapshot!(stage.run(&["print-classpath", "--kcl-version", "3.9.x"]), @"
    status 2
    --- stderr
    error: cannot choose a daemon version: no lock matches 3.9.x
    hint: write all three parts of the version; kcl-helper has locks for 1.15.3, 2.2.0, 2.5.4, 3.1.3
    ");
    assert_snapshot!(stage.run(&["print-classpath", "--kcl-version", "4"]), @r"
    status 2
    --- stderr
    error: invalid value '4' for '--kcl-version <V>': `4` is not a version such as 3.1.3, 2.x or 1.15

    For more information, try '--help'.
    ");
}

#[test]
fn kclpys_command_line_prints_kclpys_words() {
    let stage = Stage::new();
    let stdout = |line: &str| {
        let text = stage.run(&line.split(' ').collect::<Vec<_>>());
        let (_, text) = text.split_once("--- stdout\n").unwrap();
        text.split_once("--- stderr").unwrap().0.to_owned()
    };
    let printed = stdout(
        "--print_command --java J --properties P --classpath C --path D --log-configuration L",
    );
    assert_snapshot!(printed, @"J -cp STAGE/C:STAGE/D:STAGE software.amazon.kinesis.multilang.MultiLangDaemon --properties-file P --log-configuration L");
    for same in [
        "--java J --props P --path C -c D -l L --print_comm",
        "-jX -j J --prop=P -c C -c D/../D --log L --print_command",
    ] {
        assert_eq!(stdout(same), printed, "{same}");
    }
    let old =
        ["--print_command", "-j", "java -Xmx1g", "-p", "$HOME/a b", "--kcl-version", "1.15.3"];
    assert_snapshot!(stage.run(&old), @r"
    status 0
    --- stdout
    java -Xmx1g -cp STAGE/$HOME com.amazonaws.services.kinesis.multilang.MultiLangDaemon a b
    --- stderr
    warning: no jars of 1.15.3 in STAGE/cache/jars/1.15.3
    hint: run kcl-helper jars fetch --kcl-version 1.15.3
    ");
    let both = ["--print_classpath", "--print_command", "-c", "", "-p", "/etc/x"];
    assert_snapshot!(stage.run(&both), @r"
    status 0
    --- stdout
    STAGE:/etc
    --- stderr
    warning: this is daemon 3.1.3; kclpy 3.2.0 has 3.5.3, and others have others
    hint: add --kcl-version 3.1.3 to keep it; docs/moving.md has the daemon of each kclpy
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    ");
    assert_snapshot!(stage.run(&["--print_command", "--java", "J"]), @r"
    status 0
    --- stdout
    usage: kcl-helper (--print_command | --print_classpath) [-j JAVA]
           [-p PROPERTIES | --sample] [-c PATH]... [-l LOGBACK_XML]
           [--kcl-version V] [--cache DIR]
    --- stderr
    Must provide arguments: --java and --properties
    ");
    assert_snapshot!(stage.run(&["-j", "J"]), @r"
    status 0
    --- stdout
    usage: kcl-helper (--print_command | --print_classpath) [-j JAVA]
           [-p PROPERTIES | --sample] [-c PATH]... [-l LOGBACK_XML]
           [--kcl-version V] [--cache DIR]
    ");
    assert_snapshot!(stage.run(&["--print_command", "-j", "J", "-p", "P", "--"]), @r"
    status 2
    --- stderr
    usage: kcl-helper (--print_command | --print_classpath) [-j JAVA]
           [-p PROPERTIES | --sample] [-c PATH]... [-l LOGBACK_XML]
           [--kcl-version V] [--cache DIR]
    error: unrecognized arguments: --
    ");
    let version = ["--print_command", "-j", "J", "-p", "P", "--kcl-version", "x"];
    assert_snapshot!(stage.run(&version), @r"
    status 2
    --- stderr
    error: --kcl-version: `x` is not a version such as 3.1.3, 2.x or 1.15
    ");
}

#[test]
fn nothing_at_all_prints_the_help() {
    let stage = Stage::new();
    let help = stage.run(&["-h"]);
    assert_eq!(stage.run(&[]), help);
    assert!(help.starts_with("status 0\n--- stdout\nChecks, launches"), "{help}");
}

#[test]
fn missing_arguments_are_usage_errors() {
    let stage = Stage::new();
    assert_snapshot!(stage.run(&["print-command", "-p", "P"]), @r"
    status 2
    --- stderr
    error: the following required arguments were not provided:
      --java <PATH>

    Usage: kcl-helper print-command --java <PATH> --cache <DIR> <--properties <PATH>|--sample>

    For more information, try '--help'.
    ");
}

#[test]
fn jvm_flags_give_way_to_those_of_the_user() {
    let stage = Stage::new();
    let flags = |jvm_args: &[&str], variable: &str| {
        let mut arguments = vec!["-qq", "print-command", "-j", "j", "-p", "/p"];
        arguments.extend(jvm_args.iter().flat_map(|arg| ["--jvm-arg", *arg]));
        let output = stage.helper(&arguments).env("JAVA_TOOL_OPTIONS", variable).output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        line.split(" -cp ").next().unwrap().to_owned()
    };
    assert_snapshot!(flags(&[], ""), @r"j -XX:+UseSerialGC -Xms192m -Xmn64m -XX:MetaspaceSize=96m -XX:Tier4InvocationThreshold=50000 -XX:Tier4CompileThreshold=150000 -Dfile.encoding=UTF-8");
    // A JVM does not start with two collectors, and our sizes suit ours only.
    assert_snapshot!(flags(&["-XX:+UseG1GC"], ""), @r"j -XX:MetaspaceSize=96m -XX:Tier4InvocationThreshold=50000 -XX:Tier4CompileThreshold=150000 -Dfile.encoding=UTF-8 -XX:+UseG1GC");
    assert_snapshot!(flags(&[], "-Da=b -XX:+UseZGC"), @r"j -XX:MetaspaceSize=96m -XX:Tier4InvocationThreshold=50000 -XX:Tier4CompileThreshold=150000 -Dfile.encoding=UTF-8");
    // Nor does it start with a maximum below our initial size.
    assert_snapshot!(flags(&["-Xmx64m"], ""), @r"j -XX:+UseSerialGC -XX:MetaspaceSize=96m -XX:Tier4InvocationThreshold=50000 -XX:Tier4CompileThreshold=150000 -Dfile.encoding=UTF-8 -Xmx64m");
    assert_snapshot!(flags(&["-XX:TieredStopAtLevel=4"], ""), @r"j -XX:+UseSerialGC -Xms192m -Xmn64m -XX:MetaspaceSize=96m -Dfile.encoding=UTF-8 -XX:TieredStopAtLevel=4");
}

#[test]
fn sample_writes_its_properties_file() {
    let stage = Stage::new();
    let arguments = ["print-command", "--plain-jvm", "-j", "j", "-p", "mine", "--sample"];
    assert_snapshot!(stage.run(&arguments), @"
    status 0
    --- stdout
    j -Dfile.encoding=UTF-8 -cp STAGE/home/.local/share/kcl-helper software.amazon.kinesis.multilang.MultiLangDaemon --properties-file STAGE/home/.local/share/kcl-helper/sample.properties
    --- stderr
    warning: --sample: mine is not used
    warning: no jars of 3.1.3 in STAGE/cache/jars/3.1.3
    hint: run kcl-helper jars fetch --kcl-version 3.1.3
    ");
    let file = stage.path("home/.local/share/kcl-helper/sample.properties");
    let written = fs::read_to_string(&file).unwrap();
    let program = format!("{} sample-child", env!("CARGO_BIN_EXE_kcl-helper"));
    let ours = "target/debug/kcl-helper sample-child";
    assert!(written == kcl_samples::SAMPLE_PROPERTIES.replace(ours, &program), "{written}");
    assert_snapshot!(stage.run(&["check", file.to_str().unwrap()]), @r"
    status 0
    --- stderr
    note: daemon 3.1.3 can stall or lose leases: see #1669, #1718, #1765, #1788, #1744 of amazon-kinesis-client; all are fixed in 3.5.1
    STAGE/home/.local/share/kcl-helper/sample.properties: no errors, no warnings
    ");
}

#[test]
fn changed_sample_file_is_not_overwritten() {
    let stage = Stage::new();
    let arguments = ["print-classpath", "--sample", "--kcl-version", "1.15.3"];
    fill_with_hollow_jars(&stage, "1.15.3");
    let first = stage.run(&arguments);
    let file = stage.path("home/.local/share/kcl-helper/sample.properties");
    let written = fs::read_to_string(&file).unwrap();
    // If only the program has moved, the file is updated without a message.
    let moved = written.replace(env!("CARGO_BIN_EXE_kcl-helper"), "/old/kcl-helper");
    assert_ne!(moved, written);
    fs::write(&file, moved).unwrap();
    assert_eq!(stage.run(&arguments), first);
    assert_eq!(fs::read_to_string(&file).unwrap(), written);

    let changed = written.replace("streamName = words", "streamName = mine");
    fs::write(&file, &changed).unwrap();
    let text = stage.run(&arguments);
    assert_snapshot!(text.split_once("--- stderr\n").unwrap().1, @"
    warning: STAGE/home/.local/share/kcl-helper/sample.properties was changed, by you or by another version of kcl-helper: using it as it is
    hint: delete it to get a new one: rm STAGE/home/.local/share/kcl-helper/sample.properties
    ");
    assert_eq!(fs::read_to_string(&file).unwrap(), changed);
    // Another program is a change by the user too.
    let other = written.replace("sample-child", "other");
    fs::write(&file, &other).unwrap();
    assert!(stage.run(&arguments).contains("using it as it is"));
    assert_eq!(fs::read_to_string(&file).unwrap(), other);
}
