//! Downloading jars from a repository without Maven: several at once, with patience, to the byte.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;
use sha2::{Digest as _, Sha256};

use super::{Fault, Faulty, Jar, hexadecimal, megabytes};
use crate::error::{Error, Exit, Result};
use crate::files::unfinished_file;
use crate::output::{Reporter, bar};
use crate::secret::Masked;

/// As many as repositories gladly serve to one client.
const AT_ONCE: usize = 6;
/// A repository that asks for more patience than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often what has come is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// A longer wait is said, once.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Fetches all jars into a folder, by way of one for what is unfinished, or says of each that failed why. Where patience with one of them
/// was in vain, those that have not begun are left: a repository that nobody can reach would take as
/// much again for every jar.
pub(super) fn all(
    jars: &[&Jar],
    folder: &Path,
    unfinished: &Path,
    repository: &Masked,
    reporter: &Reporter,
) -> Result<()> {
    let length = repository.reveal().trim_end_matches('/').len();
    let repository = repository.part(0..length);
    let agent = agent();
    let progress = Progress::new(jars, reporter);
    let queue = Mutex::new(jars.iter());
    let failures = Mutex::new(Vec::new());
    let (in_vain, said) = (AtomicBool::new(false), AtomicBool::new(false));
    let waits = |why: &str, wait: Duration| {
        if wait >= LONG_WAIT && !said.swap(true, Ordering::Relaxed) {
            reporter.say(&format!("{repository}: {why}; trying again"));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(jars.len()) {
            scope.spawn(|| {
                while let Some(jar) = next(&queue) {
                    let url = format!("{}/{}", repository.reveal(), jar.repository_path());
                    match patiently(|| one(&agent, &url, jar, folder, unfinished, &progress), waits)
                    {
                        Ok(()) => {}
                        Err(GivenUp { why, in_vain: was_patient }) => {
                            in_vain.fetch_or(was_patient, Ordering::Relaxed);
                            lock(&failures).push((why, jar));
                        }
                    }
                    if in_vain.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    progress.end();
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failures.is_empty() {
        return Ok(());
    }
    let left = queue.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).len();
    let message = format!(
        "{} of {} jars could not be fetched from {repository}{}{}",
        failures.len(),
        jars.len(),
        proxy_words(&agent),
        if left > 0 { format!(", and {left} were not tried") } else { String::new() }
    );
    Err(Error::new(Exit::Environment, message).because(in_words(failures)))
}

/// Failures by their cause: where the network is the cause, it is that of every jar.
fn in_words(failures: Vec<(String, &Jar)>) -> String {
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

/// Proxies come from ALL_PROXY, HTTPS_PROXY, HTTP_PROXY and NO_PROXY, which ureq reads itself.
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

/// The system's certificates, else those that ureq brings.
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

fn proxy_words(agent: &ureq::Agent) -> String {
    match agent.config().proxy() {
        Some(proxy) => format!(" (through the proxy {}:{})", proxy.host(), proxy.port()),
        None => String::new(),
    }
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'_, &'a Jar>>) -> Option<&'a Jar> {
    lock(queue).next().copied()
}

/// A thread that panicked is a bug of ours that its own message tells; the data stays usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Why one attempt failed, and whether another may succeed.
enum Attempt {
    /// After the wait that the server asks for, or ours.
    Again(String, Option<Duration>),
    Hopeless(String),
}

/// Why there is no further attempt.
struct GivenUp {
    why: String,
    /// Another one might have succeeded.
    in_vain: bool,
}

/// Repeats what may succeed later, waiting longer each time, of which `waits` is told.
fn patiently(
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
            Err(Attempt::Hopeless(why)) => return Err(GivenUp { why, in_vain: false }),
            Err(Attempt::Again(why, asked)) => (why, asked),
        };
        let may_wait = asked.is_none_or(|asked| asked <= LONGEST_WAIT);
        let Some(pause) = pauses.next().filter(|_| may_wait) else {
            let why = match tries {
                1 => why,
                _ => format!("{why} ({tries} tries)"),
            };
            return Err(GivenUp { why, in_vain: true });
        };
        let pause = asked.unwrap_or(pause);
        waits(&why, pause);
        thread::sleep(pause);
        tries += 1;
    }
}

fn one(
    agent: &ureq::Agent,
    url: &str,
    jar: &Jar,
    folder: &Path,
    unfinished: &Path,
    progress: &Progress<'_>,
) -> Result<(), Attempt> {
    // An error may quote the address.
    let why = |error: &ureq::Error| Masked::of_text(error.to_string()).to_string();
    let response = agent.get(url).call().map_err(|error| match error {
        // These say that the address is wrong, not that the network is.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Attempt::Hopeless(why(&error)),
        // A certificate that is not trusted.
        ureq::Error::Io(ref io) if io.kind() == io::ErrorKind::InvalidData => {
            Attempt::Hopeless(why(&error))
        }
        _ => Attempt::Again(why(&error), None),
    })?;
    let status = response.status();
    if status.as_u16() == 429 || status.is_server_error() {
        return Err(Attempt::Again(status.to_string(), retry_after(&response)));
    }
    if !status.is_success() {
        return Err(Attempt::Hopeless(status.to_string()));
    }
    let mut file = unfinished_file(unfinished).map_err(disk)?;
    let (size, sum) = copy(response.into_body().into_reader(), &mut file, jar.size, progress)?;
    let fault = match (size == jar.size, sum == jar.sha256) {
        (false, _) => Fault::Size(size),
        (true, false) => Fault::Checksum(sum),
        (true, true) => return super::finish(file, &folder.join(&jar.file)).map_err(disk),
    };
    let wrong = Faulty { jar: jar.clone(), fault }.to_string();
    let wrong = wrong.strip_prefix(&format!("{} ", jar.file)).unwrap_or(&wrong).to_owned();
    progress.take_back(size);
    match size < jar.size {
        // A body that ends early, though the server thinks it whole.
        true => Err(Attempt::Again(wrong, None)),
        false => Err(Attempt::Hopeless(wrong)),
    }
}

/// Copies and counts; stops soon after more than `wanted` bytes.
fn copy(
    mut from: impl io::Read,
    to: &mut impl io::Write,
    wanted: u64,
    progress: &Progress<'_>,
) -> Result<(u64, String), Attempt> {
    let mut sum = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                progress.take_back(size);
                let why = format!("it ended after {size} of {wanted} bytes: {error}");
                return Err(Attempt::Again(why, None));
            }
        };
        to.write_all(&buffer[..read]).map_err(disk)?;
        sum.update(&buffer[..read]);
        size += read as u64;
        progress.add(read as u64);
        if size > wanted {
            break;
        }
    }
    Ok((size, hexadecimal(&sum.finalize())))
}

fn disk(error: io::Error) -> Attempt {
    Attempt::Hopeless(format!("it cannot be written: {error}"))
}

/// `Retry-After` in seconds; the form with a date is left to our own waits.
fn retry_after<T>(response: &ureq::http::Response<T>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How much has come, shown on a terminal only; elsewhere the lines before and after are enough.
struct Progress<'a> {
    reporter: &'a Reporter,
    is_shown: bool,
    start: Instant,
    whole: u64,
    part: AtomicU64,
    /// When it was shown last.
    shown: Mutex<Option<Instant>>,
}

impl Progress<'_> {
    fn new<'a>(jars: &[&Jar], reporter: &'a Reporter) -> Progress<'a> {
        Progress {
            reporter,
            // It does not mix with all that `-v` says.
            is_shown: !reporter.is_quiet() && !reporter.is_verbose() && reporter.has_screen(),
            start: Instant::now(),
            whole: jars.iter().map(|jar| jar.size).sum(),
            part: AtomicU64::new(0),
            shown: Mutex::new(None),
        }
    }

    fn add(&self, bytes: u64) {
        let part = self.part.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut shown = lock(&self.shown);
        if !self.is_shown || shown.is_some_and(|shown| shown.elapsed() < SHOW_EVERY) {
            return;
        }
        *shown = Some(Instant::now());
        let a_second = part as f64 / self.start.elapsed().as_secs_f64().max(0.001);
        self.reporter.show(vec![format!(
            "{} {} of {}, {}/s",
            bar(part, self.whole),
            megabytes(part),
            megabytes(self.whole),
            megabytes(a_second as u64)
        )]);
    }

    /// It must come again.
    fn take_back(&self, bytes: u64) {
        self.part.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn end(&self) {
        self.reporter.show(vec![]);
    }
}
