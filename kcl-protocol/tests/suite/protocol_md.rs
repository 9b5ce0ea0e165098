//! The JSON in PROTOCOL.md is real: each example is a fixture.

use std::collections::BTreeSet;

use kcl_fixtures::Folder;

/// Returns the lines of every `json` block.
fn examples() -> Vec<&'static str> {
    let mut inside = false;
    let mut examples = Vec::new();
    for line in include_str!("../../PROTOCOL.md").lines() {
        match line {
            "```json" => inside = true,
            "```" => inside = false,
            line if inside => examples.push(line),
            _ => {}
        }
    }
    examples
}

#[test]
fn every_example_is_a_fixture() {
    let examples = examples();
    assert!(examples.len() > 10, "found only {} examples", examples.len());
    let mut known = BTreeSet::new();
    for folder in [Folder::FromDaemon, Folder::FromChild] {
        known.extend(kcl_fixtures::messages(folder).into_iter().map(|message| message.line));
    }
    for dialogue in kcl_fixtures::dialogues() {
        known.extend(dialogue.steps.iter().map(|step| step.line().to_vec()));
    }
    for example in examples {
        assert!(known.contains(example.as_bytes()), "no fixture has this line: {example}");
    }
}

#[test]
fn every_message_has_an_example() {
    let examples = examples().concat();
    let actions = kcl_protocol::Action::ALL.map(kcl_protocol::Action::name);
    for action in actions.into_iter().chain(["checkpoint", "status"]) {
        assert!(examples.contains(&format!("\"action\":\"{action}\"")), "{action}");
    }
}
