//! Plays every dialogue of the fixtures to the runtime, which must write exactly the child's lines.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;

use kcl_fixtures::{Dialogue, Turn, dialogues};
use kcl_runtime::{
    Backoff, CheckpointError, Checkpointer, ExtendedSequenceNumber, RunError, Runtime,
    SequenceNumber,
};
use serde_json::Value;
use support::{Scripted, scripted};

fn json(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

/// Requests the checkpoint that the dialogue's child requested.
fn ask(checkpointer: &mut Checkpointer<'_>, request: &Value) -> Result<(), CheckpointError> {
    let Some(number) = request["sequenceNumber"].as_str() else {
        return checkpointer.checkpoint();
    };
    let number = SequenceNumber::new(number).unwrap();
    match request["subSequenceNumber"].as_u64() {
        Some(sub) => checkpointer.checkpoint_at(ExtendedSequenceNumber::new(number, sub)),
        None => checkpointer.checkpoint_at(number),
    }
}

/// Plays the child's part. The result of each checkpoint must match the daemon's answer.
fn play(dialogue: &Dialogue) -> (Result<(), RunError>, Vec<u8>) {
    let turns = RefCell::new(VecDeque::from(dialogue.turns()));
    let next = || -> Turn<'_> { turns.borrow_mut().pop_front().unwrap() };
    let check = |checkpoint: &kcl_fixtures::Checkpoint<'_>,
                 is_end: bool,
                 result: Result<(), CheckpointError>| {
        let answer = json(checkpoint.answer.unwrap());
        let told = result.as_ref().err().map(CheckpointError::name);
        // In a batch, a refusal that the next checkpoint makes up for is only logged.
        let is_deferred = !is_end
            && matches!(
                answer["error"].as_str(),
                Some(error) if !["ShutdownException", "IllegalArgumentException"].contains(&error)
            );
        let expected = answer["error"].as_str().filter(|_| !is_deferred);
        assert_eq!(told, expected, "{}", dialogue.name);
    };
    let play_turn = |checkpointer: &mut Checkpointer<'_>| {
        for checkpoint in &next().checkpoints {
            check(checkpoint, false, ask(checkpointer, &json(checkpoint.request)));
        }
    };
    let processor = Scripted {
        initialize: Box::new(|_| {
            next();
            Ok(())
        }),
        process_records: Box::new(|_, checkpointer| {
            play_turn(checkpointer);
            Ok(())
        }),
        shutdown_requested: Box::new(|checkpointer| {
            play_turn(checkpointer);
            Ok(())
        }),
        shard_ended: Box::new(|checkpointer| {
            for checkpoint in &next().checkpoints {
                check(checkpoint, true, checkpointer.checkpoint());
            }
            Ok(())
        }),
        lease_lost: Box::new(|| {
            next();
            Ok(())
        }),
        ..scripted()
    };
    let runtime = Runtime::new().checkpoint_retry(Backoff::none()).shard_end_retry(Backoff::none());
    let input = dialogue.daemon_bytes();
    let mut output = Vec::new();
    let result = runtime.run_over(&input[..], &mut output, processor);
    (result, output)
}

/// A processor of this runtime gets no checkpointer where the daemon allows no checkpoint.
fn cannot_be_typed(dialogue: &Dialogue) -> bool {
    dialogue.turns().iter().any(|turn| {
        let action = json(turn.message.trim_ascii())["action"].as_str().map(str::to_owned);
        !turn.checkpoints.is_empty()
            && matches!(action.as_deref(), Some("initialize" | "leaseLost"))
    })
}

#[test]
fn runtime_writes_what_the_child_wrote() {
    let (mut played, mut left_out) = (0, Vec::new());
    for dialogue in dialogues() {
        if cannot_be_typed(&dialogue) {
            left_out.push(dialogue.name);
            continue;
        }
        played += 1;
        let (result, output) = play(&dialogue);
        assert!(result.is_ok(), "{}: {result:?}", dialogue.name);
        let said: Vec<Value> =
            output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json).collect();
        let child = dialogue.child_bytes();
        let mut expected: Vec<Value> =
            child.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json).collect();
        if dialogue.breaks_off() {
            // The recorded child died where ours answers.
            expected.push(serde_json::json!({"action": "status", "responseFor": "shutdown"}));
        }
        assert_eq!(said, expected, "{}", dialogue.name);
    }
    assert!(played >= 30, "{played}");
    assert_eq!(left_out, ["checkpoint-during-initialize", "checkpoint-during-lease-lost"]);
}
