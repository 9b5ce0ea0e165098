//! A fake Kinesis whose responses a test chooses: HTTP on a free loopback port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// An HTTP status and a body.
pub(crate) type Said = (u16, Value);

/// Other responses.
pub(crate) enum Reply {
    Said(Said),
    /// These bytes, after which the connection is closed.
    Bytes(String),
    /// A response whose body continues until the client stops reading.
    Endless,
    /// The same with a byte each 20 ms.
    Drip,
    Silence,
}

type Answer = dyn FnMut(&str, &Value) -> Reply + Send;
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

pub(crate) struct Endpoint {
    pub(crate) url: String,
    heard: Heard,
    /// How many bytes of endless responses were read.
    taken: Arc<AtomicUsize>,
}

impl Endpoint {
    /// `answer` gets the action, such as `PutRecords`, and the request's body.
    pub(crate) fn start(mut answer: impl FnMut(&str, &Value) -> Said + Send + 'static) -> Endpoint {
        Endpoint::hostile(move |action, body| Reply::Said(answer(action, body)))
    }

    pub(crate) fn hostile(answer: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Heard::default();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(answer));
        let taken = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&heard), Arc::clone(&taken));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(&connection.unwrap(), &answer, &log, &count));
            }
        });
        Endpoint { url, heard, taken }
    }

    /// The calls so far.
    pub(crate) fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Answers requests until the client hangs up.
fn serve(
    connection: &TcpStream,
    answer: &Mutex<Answer>,
    log: &Heard,
    taken: &AtomicUsize,
) -> Option<()> {
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
        let reply = answer.lock().unwrap()(&action, &body);
        log.lock().unwrap().push((action, body));
        let mut writer = connection;
        let mut go_on = |piece: &str, pause: Duration| -> Option<()> {
            writer.write_all(b"HTTP/1.1 200 X\r\n\r\n").ok()?;
            loop {
                writer.write_all(piece.as_bytes()).ok()?;
                taken.fetch_add(piece.len(), Ordering::Relaxed);
                std::thread::sleep(pause);
            }
        };
        match reply {
            Reply::Said((status, said)) => {
                let said = http(status, &said.to_string());
                writer.write_all(said.as_bytes()).ok()?;
            }
            Reply::Bytes(bytes) => {
                writer.write_all(bytes.as_bytes()).ok()?;
                connection.shutdown(Shutdown::Both).ok()?;
            }
            Reply::Endless => go_on(&"x".repeat(1 << 16), Duration::ZERO)?,
            Reply::Drip => go_on("x", Duration::from_millis(20))?,
            // Until the client hangs up.
            Reply::Silence => {}
        }
    }
}

/// Encodes a response.
pub(crate) fn http(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
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
