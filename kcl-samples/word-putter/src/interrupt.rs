//! Ctrl-C, and SIGTERM on systems that have it.

use std::io;

/// Ends the program once the current call has been answered.
pub(crate) struct Interrupt {
    signals: system::Signals,
    came: bool,
}

impl Interrupt {
    pub(crate) fn catch() -> io::Result<Interrupt> {
        Ok(Interrupt { signals: system::Signals::catch()?, came: false })
    }

    /// Returns when a signal arrives or has arrived earlier.
    pub(crate) async fn wait(&mut self) {
        if !self.came {
            self.next().await;
            self.came = true;
        }
    }

    /// Returns when another signal arrives.
    pub(crate) async fn next(&mut self) {
        self.signals.next().await;
    }
}

#[cfg(unix)]
mod system {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Signals {
        int: Signal,
        term: Signal,
    }

    impl Signals {
        pub(super) fn catch() -> io::Result<Signals> {
            let int = signal(SignalKind::interrupt())?;
            let term = signal(SignalKind::terminate())?;
            Ok(Signals { int, term })
        }

        pub(super) async fn next(&mut self) {
            tokio::select! {
                _ = self.int.recv() => (),
                _ = self.term.recv() => (),
            }
        }
    }
}

#[cfg(windows)]
mod system {
    use std::io;

    use tokio::signal::windows::{CtrlC, ctrl_c};

    pub(super) struct Signals(CtrlC);

    impl Signals {
        pub(super) fn catch() -> io::Result<Signals> {
            ctrl_c().map(Signals)
        }

        pub(super) async fn next(&mut self) {
            self.0.recv().await;
        }
    }
}
