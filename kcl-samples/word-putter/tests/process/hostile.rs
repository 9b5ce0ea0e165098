//! Services that are not Kinesis, or hostile: their responses are checked and escaped, and take only
//! limited time and memory.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::endpoint::{Endpoint, Reply, active, http, refused, status};
use super::{CONNECTING, check, putter, taken, text};

/// Puts three words, without retries, to a service that answers PutRecords like this.
fn put(reply: impl Fn(&Value) -> Reply + Send + 'static) -> Endpoint {
    Endpoint::hostile(move |action, body| match action {
        "PutRecords" => reply(body),
        _ => Reply::Said(active()),
    })
}

const THREE: [&str; 8] = ["-w", "a", "-w", "b", "-w", "c", "--retry-for", "0.001"];

/// Expects that no word is put, for this reason, which follows with a hint if the whole call failed.
#[track_caller]
fn none_is_put(endpoint: &Endpoint, arguments: &[&str], why: &str, hint: Option<&str>) {
    let output = putter(endpoint, &[&THREE, arguments].concat()).output().unwrap();
    let stdout = format!("{CONNECTING}Put 0 words into stream: words\n");
    let mut stderr: String = ["a", "b", "c"]
        .map(|word| format!("error: could not put word: {word} into stream: words: {why}\n"))
        .concat();
    if let Some(hint) = hint {
        stderr.push_str(&format!("error: {why}\nhint: {hint}\n"));
    }
    stderr.push_str("error: 3 words could not be put\n");
    check(endpoint, &output, 1, &stdout, &stderr);
}

const NO_KINESIS: &str = "check that http://127.0.0.1:PORT is a Kinesis endpoint";
const UNREACHABLE: &str = "check --endpoint-url, AWS_ENDPOINT_URL, the region, and that the network \
    or the emulator is up";

/// Answers PutRecords with these results, whatever the request.
fn results(results: Value) -> Reply {
    Reply::Said((200, json!({"FailedRecordCount": 0, "Records": results})))
}

#[test]
fn as_many_results_as_records_are_believed_and_no_others() {
    let one = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
    for (count, of) in [(2, "2 results"), (6, "6 results"), (0, "0 results")] {
        let records = vec![one.clone(); count];
        let endpoint = put(move |_| results(json!(records)));
        let why = format!(
            "cannot put: the answer to PutRecords is not one of Kinesis: {of} for 3 records"
        );
        none_is_put(&endpoint, &[], &why, Some(NO_KINESIS));
    }
    for body in ["{\"FailedRecordCount\":0}", "{}", ""] {
        let endpoint = put(move |_| Reply::Bytes(http(200, body)));
        let why = "cannot put: the answer to PutRecords is not one of Kinesis: 0 results for 3 \
                   records";
        none_is_put(&endpoint, &[], why, Some(NO_KINESIS));
    }
}

#[test]
fn a_record_is_put_where_the_service_says_where_and_not_otherwise() {
    for result in [
        json!({}),
        json!({"SequenceNumber": "1"}),
        json!({"ShardId": "shardId-0"}),
        json!({"SequenceNumber": "", "ShardId": "shardId-0"}),
        json!({"SequenceNumber": "1", "ShardId": ""}),
        json!({"ErrorMessage": "slow"}),
    ] {
        let endpoint = put(move |_| results(json!(vec![result.clone(); 3])));
        let why = "cannot put: the answer to PutRecords is not one of Kinesis: a result has neither \
                   an error nor a sequence number and a shard";
        none_is_put(&endpoint, &[], why, None);
    }
    let both = json!({"SequenceNumber": "1", "ShardId": "s", "ErrorCode": "InternalFailure"});
    let endpoint = put(move |_| results(json!(vec![both.clone(); 3])));
    none_is_put(&endpoint, &[], "cannot put: InternalFailure", None);
}

/// The results say which records failed; a count that they contradict says nothing.
#[test]
fn the_count_of_failures_is_not_asked() {
    let endpoint = put(|body| {
        let mut said = taken(body);
        said.1["FailedRecordCount"] = json!(99);
        Reply::Said(said)
    });
    let output = putter(&endpoint, &THREE).output().unwrap();
    assert!(text(&output.stdout).ends_with("Put 3 words into stream: words\n"));
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
}

/// Controls a terminal, and imitates a line of our own.
const EVIL: &str = "a\u{1b}]0;PWNED\u{7}\u{9b}2J\u{202e}\r\nerror forged";
const TAMED: &str = "a\\u{1b}]0;PWNED\\u{7}\\u{9b}2J\\u{202e}\\r\\nerror forged";

#[test]
fn what_the_service_says_is_one_line_of_letters() {
    let result = json!({"ErrorCode": EVIL, "ErrorMessage": EVIL});
    let endpoint = put(move |_| results(json!(vec![result.clone(); 3])));
    none_is_put(&endpoint, &[], &format!("cannot put: {TAMED}: {TAMED}"), None);

    let endpoint = Endpoint::start(|_, _| refused(EVIL, EVIL));
    let output = putter(&endpoint, &THREE).output().unwrap();
    let stderr = format!("error: cannot look at stream words: {TAMED}: {TAMED}\n");
    check(&endpoint, &output, 1, CONNECTING, &stderr);
}

#[test]
fn of_what_the_service_says_at_length_the_beginning_is_shown() {
    let long = |letter: &str| letter.repeat(400_000);
    let short = |letter: &str| format!("{}… (400000 bytes)", letter.repeat(200));
    let endpoint = put(move |_| Reply::Said(refused(&long("X"), &long("Y"))));
    let why = format!("cannot put: {}: {}", short("X"), short("Y"));
    let output = putter(&endpoint, &THREE).output().unwrap();
    let word =
        |word: &str| format!("error: could not put word: {word} into stream: words: {why}\n");
    let stderr = format!(
        "{}{}{}error: {why}\nerror: 3 words could not be put\n",
        word("a"),
        word("b"),
        word("c")
    );
    let stdout = format!("{CONNECTING}Put 0 words into stream: words\n");
    check(&endpoint, &output, 1, &stdout, &stderr);
}

#[test]
fn an_answer_without_an_error_of_kinesis_is_told_by_its_status() {
    let redirect = "HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    for (bytes, status) in [
        (http(200, "<html>hello</html>"), 200),
        (http(200, &"[".repeat(1_000_000)), 200),
        (http(404, "<html>hello</html>"), 404),
        (redirect.to_owned(), 307),
    ] {
        let endpoint = put(move |_| Reply::Bytes(bytes.clone()));
        let why = format!(
            "cannot put: the answer to PutRecords is not one of Kinesis: HTTP status {status}"
        );
        none_is_put(&endpoint, &[], &why, Some(NO_KINESIS));
    }
    let endpoint = Endpoint::hostile(|_, _| Reply::Bytes(http(500, "{}")));
    let output = putter(&endpoint, &THREE).output().unwrap();
    let stderr = format!(
        "error: cannot look at stream words: the answer to DescribeStreamSummary is not one of \
         Kinesis: HTTP status 500\nhint: {NO_KINESIS}\n"
    );
    check(&endpoint, &output, 1, CONNECTING, &stderr);
}

#[test]
fn an_answer_that_has_no_end_is_read_to_a_bound() {
    let too_long = "is not one of Kinesis: the answer is longer than 2 MiB";
    let endpoint = put(|_| Reply::Endless);
    let why = format!("cannot put: the answer to PutRecords {too_long}");
    none_is_put(&endpoint, &[], &why, Some(NO_KINESIS));

    // The SDK itself tries this call three times.
    let endpoint = Endpoint::hostile(|_, _| Reply::Endless);
    let output = putter(&endpoint, &THREE[..6]).output().unwrap();
    let stderr = format!(
        "error: cannot look at stream words: the answer to DescribeStreamSummary {too_long}\n\
         hint: {NO_KINESIS}\n"
    );
    check(&endpoint, &output, 1, CONNECTING, &stderr);
    // Plus what sockets buffer.
    assert!(endpoint.taken() < 3 * (16 << 20), "{}", endpoint.taken());
}

#[test]
fn an_answer_that_breaks_off_may_come_whole_at_the_next_try() {
    let cut = || {
        let whole = http(200, "{\"FailedRecordCount\":0}");
        Reply::Bytes(whole[..whole.len() - 5].to_owned())
    };
    let endpoint = put(move |_| cut());
    let why = "cannot put: the answer of http://127.0.0.1:PORT broke off: error reading a body from \
               connection: end of file before message length reached";
    none_is_put(&endpoint, &[], why, Some(UNREACHABLE));

    let mut calls = 0;
    let endpoint = Endpoint::hostile(move |action, body| {
        calls += i32::from(action == "PutRecords");
        match action {
            "PutRecords" if calls == 1 => cut(),
            "PutRecords" => Reply::Said(taken(body)),
            _ => Reply::Said(active()),
        }
    });
    let output = putter(&endpoint, &THREE[..6]).output().unwrap();
    assert!(text(&output.stdout).ends_with("Put 3 words into stream: words\n"));
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_no_longer_than_asked() {
    for reply in [|| Reply::Silence, || Reply::Drip] {
        let endpoint = put(move |_| reply());
        let arguments = [&THREE[..], &["--call-timeout", "0.3"]].concat();
        let output = putter(&endpoint, &arguments).output().unwrap();
        let stderr = text(&output.stderr).replace(&endpoint.url, "URL");
        assert!(
            stderr.starts_with(
                "error: could not put word: a into stream: words: cannot put: cannot reach URL: "
            ),
            "{stderr}"
        );
        assert!(stderr.contains("timeout"), "{stderr}");
        assert!(stderr.ends_with("error: 3 words could not be put\n"), "{stderr}");
        assert_eq!(output.status.code(), Some(1));

        let endpoint = Endpoint::hostile(move |_, _| reply());
        let output = putter(&endpoint, &arguments).output().unwrap();
        let stderr = text(&output.stderr).replace(&endpoint.url, "URL");
        assert!(
            stderr.starts_with("error: cannot look at stream words: cannot reach URL: "),
            "{stderr}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

/// One Ctrl-C is enough, and words of unknown fate are not counted.
#[test]
fn an_answer_that_does_not_come_does_not_outlast_ctrl_c() {
    let endpoint = put(|_| Reply::Silence);
    let mut putter = putter(&endpoint, &THREE);
    let child = putter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while endpoint.heard().len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    interrupt(child.id());
    let output = child.wait_with_output().unwrap();
    let stdout = format!("{CONNECTING}Put 0 words into stream: words\n");
    let stderr = "error: cannot know whether 3 more words were put: no answer\n";
    check(&endpoint, &output, 130, &stdout, stderr);
}

/// Each wait is reported, until Ctrl-C.
#[test]
fn a_stream_that_never_becomes_active_is_waited_for() {
    type Answer = fn(&str) -> Reply;
    let answers: [(Answer, &str); 3] = [
        (|_| Reply::Said(status("CREATING")), "words has status: CREATING, "),
        (|_| Reply::Said(status(EVIL)), &format!("words has status: {TAMED}, ")),
        (
            |action| match action {
                "CreateStream" => Reply::Said((200, json!({}))),
                _ => Reply::Said(refused("ResourceNotFoundException", "no")),
            },
            "Creating stream: words with 1 shard",
        ),
    ];
    for (answer, expected) in answers {
        let endpoint = Endpoint::hostile(move |action, _| answer(action));
        let mut putter = putter(&endpoint, &THREE);
        let mut child = putter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.nth(1).unwrap().unwrap();
        assert!(line.starts_with(expected), "{line}");
        interrupt(child.id());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(rest.last().map(String::as_str), Some("Put 0 words into stream: words"));
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}

fn interrupt(id: u32) {
    let mut kill = kcl_fixtures::command("kill");
    assert!(kill.args(["-INT", &id.to_string()]).status().unwrap().success());
}
