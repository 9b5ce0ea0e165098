//! A Kinesis that answers as a test says: HTTP on a free loopback port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A status of HTTP, and a body.
pub(crate) type Said = (u16, Value);

type Answer = dyn FnMut(&str, &Value) -> Said + Send;
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

pub(crate) struct Endpoint {
    pub(crate) url: String,
    heard: Heard,
}

impl Endpoint {
    /// `answer` is given the action, such as `PutRecords`, and what was sent with it.
    pub(crate) fn start(answer: impl FnMut(&str, &Value) -> Said + Send + 'static) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Heard::default();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(answer));
        let log = Arc::clone(&heard);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || serve(&connection.unwrap(), &answer, &log));
            }
        });
        Endpoint { url, heard }
    }

    /// The calls so far.
    pub(crate) fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }
}

/// Answers requests until the client hangs up.
fn serve(connection: &TcpStream, answer: &Mutex<Answer>, log: &Heard) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let (mut action, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => action = value.rsplit('.').next()?.to_owned(),
                "content-length" => length = value.parse().ok()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let (status, said) = answer.lock().unwrap()(&action, &body);
        log.lock().unwrap().push((action, body));
        let said = said.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\n\
             content-length: {}\r\n\r\n",
            said.len()
        );
        let mut writer = connection;
        writer.write_all(format!("{head}{said}").as_bytes()).ok()?;
    }
}

pub(crate) fn refused(code: &str, message: &str) -> Said {
    (400, json!({"__type": code, "message": message}))
}

pub(crate) fn active() -> Said {
    status("ACTIVE")
}

pub(crate) fn status(status: &str) -> Said {
    let summary = json!({
        "StreamName": "words",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/words",
        "StreamStatus": status,
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1,
        "EnhancedMonitoring": [],
        "OpenShardCount": 1,
    });
    (200, json!({"StreamDescriptionSummary": summary}))
}
