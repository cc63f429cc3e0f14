//! The size of a write, which limits a group of writes and the queue in front of the store.

use super::{
    AppendChunk, Deliver, Effects, First, JournalRow, Message, NewChunk, NewRun, NextGeneration, Reopen, Replace,
    SendMessage, Turn, Write,
};

impl Write {
    /// The bytes of the payloads in the write. Names, ids and numbers do not count: each has a limit of its own.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Write::Create(new) | Write::Replace(Replace { new, .. }) => of_run(new),
            Write::Turn(turn) => of_turn(turn),
            Write::SendMessage(SendMessage { message, .. }) | Write::Deliver(Deliver { message, .. }) => {
                of_message(message)
            }
            Write::AppendChunk(AppendChunk { chunk, .. }) => of_chunk(chunk),
            Write::Reopen(Reopen { run, below }) => below.iter().chain([run]).map(of_generation).sum(),
            Write::Release(_)
            | Write::Claim(_)
            | Write::ClaimNotices(_)
            | Write::ReturnNotice(_)
            | Write::Noticed(_)
            | Write::UnstickRun(_)
            | Write::Delete(_)
            | Write::Clean(_)
            | Write::RecordCounts(_)
            | Write::RemoveGenerations(_)
            | Write::Unstick(_) => 0,
        }
    }
}

fn of_run(new: &NewRun) -> usize {
    let first = match &new.first {
        First::Turn { row, .. } => row.body.len(),
        First::Message(message) | First::Begin(message) => of_message(message),
        First::Later => 0,
        First::Journal { rows, messages } => of_rows(rows) + of_messages(messages),
    };
    first + new.effects.as_deref().map_or(0, of_effects) + of_chunks(&new.chunks)
}

fn of_generation(next: &NextGeneration) -> usize {
    let payloads: usize = next.payloads.iter().map(|(_, message)| of_message(message)).sum();
    let state = next.state.as_ref().map_or(0, |state| state.len());
    of_rows(&next.rows) + of_messages(&next.messages) + payloads + state
}

fn of_turn(turn: &Turn) -> usize {
    let row = turn.row.as_ref().map_or(0, |row| row.body.len());
    row + turn.effects.as_deref().map_or(0, of_effects) + of_messages(&turn.returned) + of_chunks(&turn.chunks)
}

fn of_effects(effects: &Effects) -> usize {
    let state = effects.state.as_ref().map_or(0, |state| state.len());
    let children: usize = effects.children.iter().map(|child| of_run(&child.new)).sum();
    let messages: usize = effects.messages.iter().map(|message| of_message(&message.message)).sum();
    let continuation = effects.continuation.as_ref().map_or(0, |continuation| {
        let carried: usize = continuation.payloads.iter().map(|(_, message)| of_message(message)).sum();
        of_message(&continuation.start) + carried
    });
    state + children + messages + continuation
}

fn of_message(message: &Message) -> usize {
    message.body.len()
}

fn of_messages(messages: &[Message]) -> usize {
    messages.iter().map(of_message).sum()
}

fn of_rows(rows: &[JournalRow]) -> usize {
    rows.iter().map(|row| row.body.len()).sum()
}

fn of_chunk(chunk: &NewChunk) -> usize {
    chunk.value.as_ref().map_or(0, |value| value.len())
}

fn of_chunks(chunks: &[NewChunk]) -> usize {
    chunks.iter().map(of_chunk).sum()
}
