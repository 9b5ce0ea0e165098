//! The line buffer and both sessions.

use kcl_protocol::{
    ChildSession, DaemonMessage, DaemonSession, Error, InitializeInput, LineBuffer, LineError,
    Position, Received, State,
};

/// However the bytes arrive, the same lines come out. The first byte sets how many bytes arrive at
/// a time, the second the limit for a line.
pub(crate) fn lines(bytes: &[u8]) {
    let [chunk, limit, bytes @ ..] = bytes else { return };
    let limit = usize::from(*limit) + 1;
    let mut buffer = LineBuffer::with_limit(limit);
    let (mut got, mut error) = (Vec::new(), None);
    'arriving: for chunk in bytes.chunks(usize::from(*chunk) + 1) {
        buffer.push(chunk);
        loop {
            match buffer.next_line() {
                Ok(Some(line)) => {
                    got.push(line.bytes().to_vec());
                    buffer.recycle(line);
                }
                Ok(None) => break,
                Err(found) => {
                    error = Some(found);
                    break 'arriving;
                }
            }
        }
    }
    let mut expected = Vec::new();
    let mut is_too_long = false;
    let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        let text = piece.strip_suffix(b"\r").unwrap_or(piece);
        is_too_long = text.len() > limit;
        if is_too_long {
            break;
        }
        if pieces.peek().is_some() && !text.trim_ascii().is_empty() {
            expected.push(text.to_vec());
        }
    }
    assert_eq!(got, expected);
    assert_eq!(error, is_too_long.then_some(LineError::TooLong { limit }));
}

/// A child session receives the bytes as lines and answers every message.
pub(crate) fn child_session(bytes: &[u8]) {
    let mut session = ChildSession::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let before = session.state();
        let mut out = Vec::new();
        match session.receive(&mut line.to_vec()) {
            Ok(DaemonMessage::Checkpoint(_)) => {
                assert!(matches!(before, State::Checkpointing(_)), "{before:?}");
                assert_eq!(session.answer(&mut out), Ok(()));
                assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
            Ok(message) => {
                assert!(matches!(before, State::Start | State::Idle), "{before:?}: {message:?}");
                // Request a checkpoint during half of the messages.
                if line.len() % 2 == 0 {
                    assert_eq!(session.checkpoint(&Position::AllDelivered, &mut out), Ok(()));
                } else {
                    assert_eq!(session.answer(&mut out), Ok(()));
                }
                assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
            Err(error) => {
                assert_eq!(error == Error::Failed, before == State::Failed, "{error}");
                assert_eq!(session.state(), State::Failed);
                assert_eq!(session.answer(&mut out), Err(Error::Failed));
                assert!(out.is_empty() && !error.to_string().is_empty());
            }
        }
    }
}

/// A daemon session receives the bytes as lines from a child.
pub(crate) fn daemon_session(bytes: &[u8]) {
    let mut session = DaemonSession::new();
    let mut out = Vec::new();
    let initialize = DaemonMessage::Initialize(InitializeInput::new("shardId-0"));
    assert_eq!(session.send(&initialize, &mut out), Ok(()));
    for line in bytes.split(|byte| *byte == b'\n') {
        let before = session.state();
        out.clear();
        match session.receive(&mut line.to_vec()) {
            Ok(Received::Status(action)) => {
                assert_eq!(before, State::Busy(action));
                let next = DaemonMessage::ShutdownRequested;
                assert_eq!(session.send(&next, &mut out), Ok(()));
            }
            Ok(Received::Checkpoint(request)) => {
                assert!(matches!(before, State::Busy(_)), "{before:?}");
                let number = request.sequence_number.map(str::to_owned);
                let sub = request.sub_sequence_number;
                assert_eq!(session.answer_checkpoint(Ok(()), &mut out), Ok(()));
                // The answer repeats the numbers of the request.
                let mut line = out.clone();
                line.pop();
                let answer = DaemonMessage::decode(&mut line);
                let is_repeated = matches!(&answer, Ok(DaemonMessage::Checkpoint(answer))
                    if answer.sequence_number == number.as_deref()
                        && answer.sub_sequence_number == sub
                        && answer.result().is_ok());
                assert!(is_repeated, "{answer:?}");
            }
            Ok(noise) => {
                assert!(noise.is_noise());
                assert_eq!(session.state(), before);
            }
            Err(error) => {
                assert_eq!(error == Error::Failed, before == State::Failed, "{error}");
                assert_eq!(session.state(), State::Failed);
            }
        }
    }
}
