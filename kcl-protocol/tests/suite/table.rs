//! The transition table: every state with every event.

use std::fmt::Write as _;

use kcl_protocol::{Action, Conversation, Event, State};

/// Returns a conversation in each state.
fn states() -> Vec<Conversation> {
    let after = |events: &[Event]| {
        let mut conversation = Conversation::new();
        events.iter().for_each(|event| conversation.apply(*event).unwrap());
        conversation
    };
    let start = [Event::Message(Action::Initialize), Event::Status(Action::Initialize)];
    let busy = |action| match action {
        Action::Initialize => vec![start[0]],
        action => [&start[..], &[Event::Message(action)]].concat(),
    };
    let mut states = vec![after(&[])];
    for action in Action::ALL {
        states.push(after(&busy(action)));
    }
    for action in Action::ALL {
        states.push(after(&[&busy(action)[..], &[Event::CheckpointRequest]].concat()));
    }
    states.push(after(&start));
    let ended = [&busy(Action::LeaseLost)[..], &[Event::Status(Action::LeaseLost)]].concat();
    states.push(after(&ended));
    states.push(after(&[Event::EndOfInput]));
    let mut failed = Conversation::new();
    failed.fail();
    states.push(failed);
    states
}

/// Returns the state after an event, or `None` if the event is not allowed.
fn next(conversation: &Conversation, event: Event) -> Option<State> {
    let mut conversation = conversation.clone();
    conversation.apply(event).ok().map(|()| conversation.state())
}

#[test]
fn every_event_in_every_state_matches_the_snapshot() {
    let states = states();
    assert_eq!(states.len(), 17, "states() misses a state");
    let mut text = String::new();
    let mut pairs = 0;
    for conversation in &states {
        writeln!(text, "{}", conversation.state()).unwrap();
        for event in Event::all() {
            let mut changed = conversation.clone();
            let outcome = match changed.apply(event) {
                Ok(()) => format!("→ {}", changed.state()),
                Err(violation) => {
                    assert_eq!(changed.state(), State::Failed);
                    format!("error: {violation}")
                }
            };
            assert_eq!(conversation.allows(event), outcome.starts_with('→'));
            writeln!(text, "    {:32}{outcome}", event.to_string()).unwrap();
            pairs += 1;
        }
    }
    assert_eq!(pairs, 17 * 15);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../fixtures/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("transition-table", text));
}

/// States that differ only in the name of the message share a row in PROTOCOL.md.
#[test]
fn the_table_in_protocol_md_matches_the_code() {
    let mut rows: Vec<(String, String, Vec<&str>)> = Vec::new();
    for conversation in states() {
        let state = conversation.state();
        let action = match state {
            State::Busy(action) | State::Checkpointing(action) => Some(action),
            _ => None,
        };
        // "M" is the message that is being processed.
        let plain = |text: String| match action {
            Some(action) => text.replace(action.name(), "M"),
            None => text,
        };
        let mut leads: Vec<(String, Vec<String>)> = Vec::new();
        for event in Event::all() {
            if let Some(next) = next(&conversation, event) {
                let to = match (event, next) {
                    (Event::Message(_), State::Busy(_)) => "during that message".to_owned(),
                    _ => plain(next.to_string()),
                };
                let event = plain(event.to_string());
                match leads.iter_mut().find(|lead| lead.0 == to) {
                    Some(lead) => lead.1.push(event),
                    None => leads.push((to, vec![event])),
                }
            }
        }
        let leads: Vec<String> =
            leads.iter().map(|(to, events)| format!("{} → {to}", events.join(", "))).collect();
        let leads = if leads.is_empty() { "nothing".to_owned() } else { leads.join("; ") };
        let state = plain(state.to_string());
        match rows.iter_mut().find(|row| row.0 == state && row.1 == leads) {
            Some(row) => row.2.extend(action.map(Action::name)),
            None => rows.push((state, leads, action.map(Action::name).into_iter().collect())),
        }
    }
    let mut table = "| state | allowed event → next state |\n| --- | --- |\n".to_owned();
    for (state, leads, actions) in rows {
        let actions = match actions.len() {
            0 => String::new(),
            6 => " (M: any)".to_owned(),
            _ => format!(" (M: {})", actions.join(", ")),
        };
        writeln!(table, "| {state}{actions} | {leads} |").unwrap();
    }

    let text = include_str!("../../PROTOCOL.md");
    let (begin, end) = ("<!-- transition table, from the code -->\n", "<!-- end of the table -->");
    let written = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    let (written, _) = written.expect("PROTOCOL.md has both markers");
    assert_eq!(written.trim(), table.trim(), "PROTOCOL.md must contain this table:\n\n{table}");
}
