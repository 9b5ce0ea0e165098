//! Runs the word putter against a fake endpoint.
#![allow(clippy::unwrap_used)] // a test may

mod endpoint;
mod hostile;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use endpoint::{Endpoint, Said, active, refused, status};
use serde_json::{Value, json};

fn putter(endpoint: &Endpoint, arguments: &[&str]) -> Command {
    let mut command = kcl_fixtures::command(env!("CARGO_BIN_EXE_sample_word_putter"));
    command
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(["--stream", "words", "--endpoint-url", &endpoint.url])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Compares the status and both outputs. The endpoint's port is shown as `PORT`.
fn check(endpoint: &Endpoint, output: &Output, code: i32, stdout: &str, stderr: &str) {
    let told = |bytes| text(bytes).replace(&endpoint.url, "http://127.0.0.1:PORT");
    assert_eq!(told(&output.stderr), stderr);
    assert_eq!(told(&output.stdout), stdout);
    assert_eq!(output.status.code(), Some(code));
}

const CONNECTING: &str = "Connecting to stream: words in us-east-1 at http://127.0.0.1:PORT\n";

/// Accepts all records of a call.
fn taken(body: &Value) -> Said {
    let one = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
    let records = vec![one; body["Records"].as_array().unwrap().len()];
    (200, json!({"FailedRecordCount": 0, "Records": records}))
}

fn kinesis(action: &str, body: &Value) -> Said {
    match action {
        "DescribeStreamSummary" => active(),
        _ => taken(body),
    }
}

#[test]
fn each_word_is_put_once() {
    let endpoint = Endpoint::start(kinesis);
    let output = putter(&endpoint, &["-w", "cat", "-w", "dog"]).output().unwrap();
    let stdout = format!(
        "{CONNECTING}Put word: cat into stream: words\nPut word: dog into stream: words\n\
         Put 2 words into stream: words\n"
    );
    check(&endpoint, &output, 0, &stdout, "");
    let said = endpoint.heard();
    assert_eq!(said[1].0, "PutRecords");
    let records = json!([
        {"Data": "Y2F0", "PartitionKey": "cat"},
        {"Data": "ZG9n", "PartitionKey": "dog"},
    ]);
    assert_eq!(said[1].1, json!({"Records": records, "StreamName": "words"}));
}

#[test]
fn the_region_is_the_option_then_the_environment() {
    let endpoint = Endpoint::start(kinesis);
    for (arguments, region) in
        [(&["-w", "a", "-r", "eu-west-1"][..], "eu-west-1"), (&["-w", "a"], "ap-south-1")]
    {
        let output = putter(&endpoint, arguments).env("AWS_REGION", "ap-south-1").output().unwrap();
        let first = text(&output.stdout).lines().next().unwrap().to_owned();
        assert_eq!(first, format!("Connecting to stream: words in {region} at {}", endpoint.url));
    }
}

#[test]
fn a_stream_that_is_being_deleted_is_waited_out_then_made() {
    let mut looks = 0;
    let endpoint = Endpoint::start(move |action, body| match action {
        "DescribeStreamSummary" => {
            looks += 1;
            match looks {
                1 => status("DELETING"),
                2 => refused("ResourceNotFoundException", "Stream words not found."),
                _ => active(),
            }
        }
        "CreateStream" => (200, json!({})),
        _ => taken(body),
    });
    let output = putter(&endpoint, &["-w", "cat", "--shards", "2"]).output().unwrap();
    let stdout = format!(
        "{CONNECTING}words has status: DELETING, sleeping for 3 seconds\n\
         Creating stream: words with 2 shards\n\
         words has status: CREATING, sleeping for 3 seconds\n\
         Put word: cat into stream: words\nPut 1 word into stream: words\n"
    );
    check(&endpoint, &output, 0, &stdout, "");
    let created = endpoint.heard().into_iter().find(|(action, _)| action == "CreateStream");
    assert_eq!(created.unwrap().1, json!({"ShardCount": 2, "StreamName": "words"}));
}

#[test]
fn what_was_throttled_is_put_again_in_its_order() {
    let mut calls = 0;
    let endpoint = Endpoint::start(move |action, body| {
        if action != "PutRecords" {
            return active();
        }
        calls += 1;
        let slow =
            json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow"});
        let mut said = taken(body);
        match calls {
            1 => refused("ProvisionedThroughputExceededException", "Rate exceeded"),
            2 => {
                said.1["Records"][0] = slow;
                said.1["FailedRecordCount"] = json!(1);
                said
            }
            _ => said,
        }
    });
    let arguments = ["-w", "cat", "-w", "dog", "-w", "cat"];
    let output = putter(&endpoint, &arguments).output().unwrap();
    let stdout = format!(
        "{CONNECTING}Put word: dog into stream: words\nPut word: cat into stream: words\n\
         Put word: cat into stream: words\nPut 3 words into stream: words\n"
    );
    check(&endpoint, &output, 0, &stdout, "");
    let calls = endpoint.heard().into_iter().filter(|(action, _)| action == "PutRecords");
    let lengths: Vec<_> =
        calls.map(|(_, body)| body["Records"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [2, 2, 1, 1]);
}

#[test]
fn what_stays_throttled_is_named() {
    let endpoint = Endpoint::start(|action, body| {
        let mut said = kinesis(action, body);
        if action == "PutRecords" {
            let code = "ProvisionedThroughputExceededException";
            said.1["Records"][0] = json!({"ErrorCode": code, "ErrorMessage": "Rate exceeded"});
        }
        said
    });
    let arguments = ["-w", "cat", "-w", "dog", "--retry-for", "0.001"];
    let output = putter(&endpoint, &arguments).output().unwrap();
    let stdout =
        format!("{CONNECTING}Put word: dog into stream: words\nPut 1 word into stream: words\n");
    let stderr = "error: could not put word: cat into stream: words: cannot put: \
                  ProvisionedThroughputExceededException: Rate exceeded\n\
                  error: 1 word could not be put\n";
    check(&endpoint, &output, 1, &stdout, stderr);
}

#[test]
fn denied_actions_say_what_to_allow() {
    let endpoint = Endpoint::start(|_, _| refused("AccessDeniedException", "You may not."));
    let output = putter(&endpoint, &["-w", "cat"]).output().unwrap();
    let stderr = "error: cannot look at stream words: AccessDeniedException: You may not.\n\
                  hint: allow kinesis:DescribeStreamSummary on the stream in an IAM policy\n";
    check(&endpoint, &output, 1, CONNECTING, stderr);

    let endpoint = Endpoint::start(|action, _| match action {
        "PutRecords" => refused("AccessDeniedException", "You may not."),
        _ => active(),
    });
    let output = putter(&endpoint, &["-w", "cat", "-w", "cat"]).output().unwrap();
    let word = "error: could not put word: cat into stream: words: cannot put: \
                AccessDeniedException: You may not.\n";
    let stderr = format!(
        "{word}{word}error: cannot put: AccessDeniedException: You may not.\n\
         hint: allow kinesis:PutRecords on the stream in an IAM policy\n\
         error: 2 words could not be put\n"
    );
    let stdout = format!("{CONNECTING}Put 0 words into stream: words\n");
    check(&endpoint, &output, 1, &stdout, &stderr);
}

#[test]
fn missing_credentials_say_where_they_come_from() {
    let endpoint = Endpoint::start(kinesis);
    let mut putter = putter(&endpoint, &["-w", "cat"]);
    let output = putter.env_remove("AWS_ACCESS_KEY_ID").output().unwrap();
    let stderr = "error: cannot look at stream words: no AWS credentials were found\n\
                  hint: run `aws configure` or `aws sso login`, name a --profile, or set \
                  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for an emulator any values will do)\n";
    check(&endpoint, &output, 1, CONNECTING, stderr);
}

#[test]
fn an_endpoint_that_is_not_there_is_named() {
    let mut endpoint = Endpoint::start(kinesis);
    // Nothing listens on a port that was just closed.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    endpoint.url = format!("http://{free}");
    let output = putter(&endpoint, &["-w", "cat"]).output().unwrap();
    let stderr = text(&output.stderr).replace(&endpoint.url, "URL");
    let (error, hint) = stderr.split_once('\n').unwrap();
    assert!(error.starts_with("error: cannot look at stream words: cannot reach URL: "), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert_eq!(
        hint,
        "hint: check --endpoint-url, AWS_ENDPOINT_URL, the region, and that the network or the \
         emulator is up\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn stdin_is_put_in_batches_and_what_is_no_word_is_named() {
    let endpoint = Endpoint::start(kinesis);
    let mut putter = putter(&endpoint, &[]);
    let mut child =
        putter.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input: Vec<u8> = (0..2_000).flat_map(|n| format!(" {n}\n\n").into_bytes()).collect();
    input.extend(b"\xff\n");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stdout = text(&output.stdout);
    assert!(stdout.contains("\nNo -w options provided. Waiting on input from STDIN\n"));
    assert!(stdout.ends_with("\nPut 2000 words into stream: words\n"));
    assert_eq!(
        text(&output.stderr),
        "error: could not put line 4001 of stdin: not UTF-8\nerror: 1 word could not be put\n"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(endpoint.heard().len() < 1_000);
}

/// The second round's first line shows that the pause is over; then the signal ends the third.
#[test]
fn with_a_period_it_goes_on_until_ctrl_c_and_counts() {
    use std::io::{BufRead, BufReader};

    let endpoint = Endpoint::start(kinesis);
    let mut putter = putter(&endpoint, &["-w", "cat", "-p", "0.01"]);
    let mut child = putter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let heard: Vec<String> = lines.by_ref().take(4).collect();
    let (put, pause) = ("Put word: cat into stream: words", "Sleeping for 0.01 seconds");
    assert_eq!(heard[1..], [put, pause, put]);
    let id = child.id().to_string();
    assert!(kcl_fixtures::command("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    let puts = 2 + rest.iter().filter(|line| *line == put).count();
    assert_eq!(rest.last().unwrap(), &format!("Put {puts} words into stream: words"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
