//! Stands between a daemon and DynamoDB, and on command answers whatever would store a checkpoint
//! with an error of DynamoDB's. All else is passed on, renewals of leases among it.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use tiny_http::{Header, Request, Response, Server};

use crate::aws::Service;

/// What DynamoDB answers to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The table's capacity is used up: the daemon's SDK tries some times, then the child hears of it.
    Throttled,
    /// It cannot be, for a reason that trying again does not mend.
    Refused,
    /// Status 500.
    Broken,
}

impl Fault {
    fn answer(self) -> (u16, Value) {
        let (status, name) = match self {
            Fault::Throttled => (400, "ProvisionedThroughputExceededException"),
            Fault::Refused => (400, "ValidationException"),
            Fault::Broken => (500, "InternalServerError"),
        };
        let kind = format!("com.amazonaws.dynamodb.v20120810#{name}");
        (status, json!({"__type": kind, "message": "the scenario wants it so"}))
    }
}

/// A running proxy. Dropping it ends it.
pub struct FaultProxy {
    pub url: String,
    shared: Arc<Shared>,
    server: Arc<Server>,
}

struct Shared {
    to: String,
    agent: ureq::Agent,
    fault: Mutex<Option<Fault>>,
    answered: AtomicUsize,
}

impl FaultProxy {
    pub fn start(dynamodb: &Service) -> Result<FaultProxy> {
        let server = Server::http("127.0.0.1:0").map_err(|error| anyhow!("no proxy: {error}"))?;
        let address = server.server_addr().to_ip().context("the proxy has no address")?;
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let shared = Arc::new(Shared {
            to: dynamodb.url.clone(),
            agent: config.build().into(),
            fault: Mutex::new(None),
            answered: AtomicUsize::new(0),
        });
        let server = Arc::new(server);
        // A daemon keeps several requests open at a time.
        for _ in 0..8 {
            let (server, shared) = (server.clone(), shared.clone());
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    // A client that has gone away has no use for an answer.
                    let _ = shared.serve(request);
                }
            });
        }
        Ok(FaultProxy { url: format!("http://{address}"), shared, server })
    }

    /// From now on; `None` lets all pass.
    pub fn set(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How many requests have been answered with a fault so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        for _ in 0..8 {
            self.server.unblock();
        }
    }
}

impl Shared {
    fn serve(&self, mut request: Request) -> Result<()> {
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body)?;
        let target = header(&request, "X-Amz-Target").unwrap_or_default();
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = match fault.filter(|_| stores_checkpoint(&target, &body)) {
            Some(fault) => {
                self.answered.fetch_add(1, Ordering::SeqCst);
                let (status, answer) = fault.answer();
                (status, answer.to_string().into_bytes())
            }
            None => self.pass_on(&request, &body)?,
        };
        let kind = Header::from_bytes("Content-Type", "application/x-amz-json-1.0");
        let kind = kind.map_err(|()| anyhow!("no header"))?;
        let response = Response::from_data(answer).with_status_code(status).with_header(kind);
        Ok(request.respond(response)?)
    }

    fn pass_on(&self, request: &Request, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut onward = self.agent.post(&self.to);
        for name in ["Content-Type", "X-Amz-Target", "X-Amz-Date", "Authorization"] {
            if let Some(value) = header(request, name) {
                onward = onward.header(name, value);
            }
        }
        let answer = onward.send(body)?;
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        answer.into_body().into_reader().read_to_end(&mut text)?;
        Ok((status, text))
    }
}

fn header(request: &Request, name: &'static str) -> Option<String> {
    let mut headers = request.headers().iter();
    let found = headers.find(|header| header.field.equiv(name))?;
    Some(found.value.as_str().to_owned())
}

/// Whether a request writes a `checkpoint` into a lease. A renewal writes the counter alone.
fn stores_checkpoint(target: &str, body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    target.ends_with(".UpdateItem") && body["AttributeUpdates"].get("checkpoint").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_told_from_a_renewal() {
        let target = "DynamoDB_20120810.UpdateItem";
        let renewal = br#"{"Key":{"leaseKey":{"S":"s"}},"AttributeUpdates":{"leaseCounter":{"Value":{"N":"2"},"Action":"PUT"}}}"#;
        let checkpoint = br#"{"AttributeUpdates":{"checkpoint":{"Value":{"S":"1"},"Action":"PUT"},"leaseCounter":{}}}"#;
        assert!(stores_checkpoint(target, checkpoint));
        assert!(!stores_checkpoint(target, renewal));
        assert!(!stores_checkpoint("DynamoDB_20120810.Scan", checkpoint));
        assert!(!stores_checkpoint(target, b"no JSON"));
    }

    #[test]
    fn what_is_no_checkpoint_passes_and_a_checkpoint_gets_the_fault() {
        // A stand-in for DynamoDB that answers with what it was asked.
        let echo = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let port = echo.server_addr().to_ip().unwrap().port();
        let server = echo.clone();
        thread::spawn(move || {
            while let Ok(mut request) = server.recv() {
                let mut body = Vec::new();
                request.as_reader().read_to_end(&mut body).unwrap();
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let status = if asked["fails"] == true { 400 } else { 200 };
                let answer = json!({"asked": asked, "target": header(&request, "X-Amz-Target")});
                let answer = Response::from_string(answer.to_string()).with_status_code(status);
                request.respond(answer).unwrap();
            }
        });
        let proxy = FaultProxy::start(&Service::dynamodb(port)).unwrap();
        let port = proxy.url.rsplit(':').next().unwrap().parse().unwrap();
        let through = Service::dynamodb(port);
        let renewal = json!({"AttributeUpdates": {"leaseCounter": {}}});
        let checkpoint = json!({"AttributeUpdates": {"checkpoint": {}}});
        let expected = json!({"asked": checkpoint, "target": "DynamoDB_20120810.UpdateItem"});
        assert_eq!(through.call("UpdateItem", &checkpoint).unwrap(), expected);
        for (fault, words) in [
            (Fault::Throttled, ["400", "#ProvisionedThroughputExceededException"]),
            (Fault::Refused, ["400", "#ValidationException"]),
            (Fault::Broken, ["500", "#InternalServerError"]),
        ] {
            proxy.set(Some(fault));
            let error = through.call("UpdateItem", &checkpoint).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
            assert_eq!(through.call("UpdateItem", &renewal).unwrap()["asked"], renewal);
        }
        assert_eq!(proxy.answered(), 3);
        proxy.set(None);
        assert_eq!(through.call("UpdateItem", &checkpoint).unwrap(), expected);
        // An error of DynamoDB's own is passed on.
        assert!(through.call("UpdateItem", &json!({"fails": true})).is_err());
        echo.unblock();
    }
}
