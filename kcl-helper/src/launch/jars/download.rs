//! Downloads jars from a Maven repository without Maven: several at once, with retries, and verified.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;

use super::{Fault, Faulty, Jar, megabytes};
use crate::error::{Error, Exit, Result};
use crate::files::unfinished_file;
use crate::output::{Reporter, bar};
use crate::secret::Masked;

/// How many downloads run at once.
const CONNECTIONS: usize = 6;
/// If a repository asks to wait longer than this, we give up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often the progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// The first wait longer than this is reported.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Downloads all jars into a folder. The error has the cause of each failure.
///
/// Once all attempts for one jar have failed, jars that have not begun are skipped: if the repository
/// cannot be reached, each of them would take as long again.
pub(super) fn all(
    jars: &[&Jar],
    folder: &Path,
    unfinished: &Path,
    repository: &Masked,
    reporter: &Reporter,
) -> Result<()> {
    let length = repository.reveal().trim_end_matches('/').len();
    let repository = &repository.part(0..length);
    let agent = agent();
    let progress = Progress::new(jars, reporter);
    let download = Download { agent: &agent, repository, folder, unfinished, progress: &progress };
    let queue = Mutex::new(jars.iter());
    let failures = Mutex::new(Vec::new());
    let (is_given_up, is_reported) = (AtomicBool::new(false), AtomicBool::new(false));
    let waits = |why: &str, wait: Duration| {
        if wait >= LONG_WAIT && !is_reported.swap(true, Ordering::Relaxed) {
            reporter.say(&format!("{repository}: {why}; trying again"));
        }
    };
    let work = || {
        while let Some(jar) = next(&queue) {
            if let Err(GivenUp { why, is_final }) = retrying(|| download.jar(jar), waits) {
                is_given_up.fetch_or(!is_final, Ordering::Relaxed);
                lock(&failures).push((why, jar));
            }
            if is_given_up.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(jars.len()) {
            scope.spawn(work);
        }
    });
    progress.end();
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failures.is_empty() {
        return Ok(());
    }
    let skipped = queue.into_inner().unwrap_or_else(PoisonError::into_inner).len();
    let message = format!(
        "cannot download {} of {} jars from {repository}{}{}",
        failures.len(),
        jars.len(),
        via_proxy(&agent),
        if skipped > 0 { format!(" ({skipped} not tried)") } else { String::new() }
    );
    Err(Error::new(Exit::Environment, message).because(summary(failures)))
}

/// Groups failures by their cause, because a failed network is the cause for every jar.
fn summary(failures: Vec<(String, &Jar)>) -> String {
    let mut causes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (why, jar) in failures {
        causes.entry(why).or_default().push(&jar.file);
    }
    let words = causes.into_iter().map(|(why, mut files)| {
        files.sort_unstable();
        match files.as_slice() {
            [first, second, third, _, ..] => {
                format!("{first}, {second}, {third} and {} more: {why}", files.len() - 3)
            }
            few => format!("{}: {why}", few.join(", ")),
        }
    });
    words.collect::<Vec<_>>().join("; ")
}

/// ureq itself reads ALL_PROXY, HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .user_agent(concat!("kcl-helper/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(300)));
    #[cfg(feature = "https")]
    let config = config.tls_config(trust());
    config.build().new_agent()
}

/// Trusts the system's certificates, or those that ureq has if there are none.
#[cfg(feature = "https")]
fn trust() -> ureq::tls::TlsConfig {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};

    let found = rustls_native_certs::load_native_certs().certs;
    let certificates: Vec<_> =
        found.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
    let roots = match certificates.is_empty() {
        true => RootCerts::WebPki,
        false => RootCerts::Specific(certificates.into()),
    };
    TlsConfig::builder().root_certs(roots).build()
}

fn via_proxy(agent: &ureq::Agent) -> String {
    match agent.config().proxy() {
        Some(proxy) => format!(" (via the proxy {}:{})", proxy.host(), proxy.port()),
        None => String::new(),
    }
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'_, &'a Jar>>) -> Option<&'a Jar> {
    lock(queue).next().copied()
}

/// A thread that panics reports that itself, and the data stays usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why one attempt failed, and whether another one may succeed.
enum Attempt {
    /// It may, after this long if the server asks for it.
    Again(String, Option<Duration>),
    Hopeless(String),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Attempt {
        Attempt::Again(error.to_string(), None)
    }
}

/// Why there is no further attempt.
struct GivenUp {
    why: String,
    /// Whether further attempts could not succeed either.
    is_final: bool,
}

/// Repeats an attempt that may succeed later, with longer and longer waits, each reported to `waits`.
fn retrying(
    mut attempt: impl FnMut() -> Result<(), Attempt>,
    waits: impl Fn(&str, Duration),
) -> Result<(), GivenUp> {
    let mut pauses = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(300))
        .with_max_times(5)
        .build();
    let mut tries = 1;
    loop {
        let (why, asked) = match attempt() {
            Ok(()) => return Ok(()),
            Err(Attempt::Hopeless(why)) => return Err(GivenUp { why, is_final: true }),
            Err(Attempt::Again(why, asked)) => (why, asked),
        };
        let may_wait = asked.is_none_or(|asked| asked <= LONGEST_WAIT);
        let Some(pause) = pauses.next().filter(|_| may_wait) else {
            let why = match tries {
                1 => why,
                _ => format!("{why} ({tries} tries)"),
            };
            return Err(GivenUp { why, is_final: false });
        };
        let pause = asked.unwrap_or(pause);
        waits(&why, pause);
        thread::sleep(pause);
        tries += 1;
    }
}

/// What is the same for every jar.
#[derive(Clone, Copy)]
struct Download<'a> {
    agent: &'a ureq::Agent,
    repository: &'a Masked,
    folder: &'a Path,
    unfinished: &'a Path,
    progress: &'a Progress<'a>,
}

impl Download<'_> {
    /// Tries once to download a jar, and verifies it.
    fn jar(&self, jar: &Jar) -> Result<(), Attempt> {
        let url = format!("{}/{}", self.repository.reveal(), jar.repository_path());
        let response = self.agent.get(&url).call().map_err(failed_request)?;
        let status = response.status();
        if status.as_u16() == 429 || status.is_server_error() {
            return Err(Attempt::Again(status.to_string(), retry_after(&response)));
        }
        if !status.is_success() {
            return Err(Attempt::Hopeless(status.to_string()));
        }
        let mut file = unfinished_file(self.unfinished).map_err(cannot_write)?;
        let (size, sum) = self.copy(response.into_body().into_reader(), &mut file, jar.size)?;
        let fault = match (size == jar.size, sum == jar.sha256) {
            (false, _) => Fault::Size(size),
            (true, false) => Fault::Checksum(sum),
            (true, true) => {
                return super::finish(file, &self.folder.join(&jar.file)).map_err(cannot_write);
            }
        };
        self.progress.take_back(size);
        let faulty = Faulty { jar: jar.clone(), fault }.to_string();
        let why = faulty.strip_prefix(&format!("{} ", jar.file)).unwrap_or(&faulty).to_owned();
        // A server may end a body early and believe that it is complete.
        if size < jar.size { Err(Attempt::Again(why, None)) } else { Err(Attempt::Hopeless(why)) }
    }

    /// Copies a body, but not much more than `expected` bytes. Returns its size and SHA-256.
    fn copy(
        &self,
        body: impl io::Read,
        file: &mut impl io::Write,
        expected: u64,
    ) -> Result<(u64, String), Attempt> {
        let mut size = 0;
        let copied = super::copy(body.take(expected.saturating_add(1)), |piece| {
            file.write_all(piece).map_err(cannot_write)?;
            size += piece.len() as u64;
            self.progress.add(piece.len() as u64);
            Ok(())
        });
        copied.map_err(|failure| match failure {
            Attempt::Again(why, wait) => {
                self.progress.take_back(size);
                let why = format!("the download ended after {size} of {expected} bytes: {why}");
                Attempt::Again(why, wait)
            }
            hopeless => hopeless,
        })
    }
}

fn failed_request(error: ureq::Error) -> Attempt {
    // The text may quote an address with a password.
    let why = Masked::of_text(error.to_string()).to_string();
    let is_final = match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => true,
        // The certificate is not trusted.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    if is_final { Attempt::Hopeless(why) } else { Attempt::Again(why, None) }
}

fn cannot_write(error: io::Error) -> Attempt {
    Attempt::Hopeless(format!("cannot write it: {error}"))
}

/// Reads `Retry-After` in seconds. For a date we use our own waits.
fn retry_after<T>(response: &ureq::http::Response<T>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How much has been downloaded. It is shown only on a terminal.
struct Progress<'a> {
    reporter: &'a Reporter,
    is_shown: bool,
    start: Instant,
    total: u64,
    received: AtomicU64,
    /// When it was last shown.
    shown: Mutex<Option<Instant>>,
}

impl Progress<'_> {
    fn new<'a>(jars: &[&Jar], reporter: &'a Reporter) -> Progress<'a> {
        Progress {
            reporter,
            // It would mix with the output of `-v`.
            is_shown: !reporter.is_quiet() && !reporter.is_verbose() && reporter.has_screen(),
            start: Instant::now(),
            total: jars.iter().map(|jar| jar.size).sum(),
            received: AtomicU64::new(0),
            shown: Mutex::new(None),
        }
    }

    fn add(&self, bytes: u64) {
        let received = self.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut shown = lock(&self.shown);
        if !self.is_shown || shown.is_some_and(|shown| shown.elapsed() < SHOW_EVERY) {
            return;
        }
        *shown = Some(Instant::now());
        let per_second = received as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        self.reporter.show(vec![format!(
            "{} {} of {}, {}/s",
            bar(received, self.total),
            megabytes(received),
            megabytes(self.total),
            megabytes(per_second as u64)
        )]);
    }

    /// These bytes must be downloaded again.
    fn take_back(&self, bytes: u64) {
        self.received.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn end(&self) {
        self.reporter.show(vec![]);
    }
}
