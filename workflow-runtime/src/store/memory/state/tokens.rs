//! Tokens: who takes the payloads that are sent to them, and what is held until somebody does.

use std::sync::Arc;

use super::{Run, State};
use crate::store::{
    About, Close, DeliverAnswer, InboxRow, Letter, NEVER, Open, RunKey, TokenLabel, TokenRow, TokenState,
};

#[derive(Debug)]
pub(super) struct Token {
    run: Option<RunKey>,
    op: Option<u64>,
    label: TokenLabel,
    state: TokenState,
    /// What waits for its run to come to it, and until when.
    held: Vec<(Letter, u64)>,
}

impl Token {
    fn of_nobody() -> Self {
        Token { run: None, op: None, label: TokenLabel::default(), state: TokenState::Open, held: Vec::new() }
    }

    /// Keeps a letter, unless one with its key is kept already.
    fn hold(&mut self, letter: &Letter, until: u64, now: u64) {
        self.held.retain(|(_, until)| *until >= now);
        let known = |(held, _): &(Letter, u64)| letter.dedupe.is_some() && held.dedupe == letter.dedupe;
        if !self.held.iter().any(known) {
            self.held.push((letter.clone(), until));
        }
    }
}

impl State {
    pub(super) fn open(&mut self, run: RunKey, opens: &[Open]) {
        for open in opens {
            let taken = self.tokens.get(&open.token).filter(|token| token.state == TokenState::Open);
            let theirs = taken.and_then(|token| token.run.filter(|owner| *owner != run || token.op.is_some()));
            if let Some(owner) = theirs {
                let owner = self.runs.get(&owner).map(|owner| About::Owner(Arc::clone(&owner.row.id)));
                if open.op.is_some() {
                    self.edit(run, |run, letters| run.receive(letters, &open.refusal, owner));
                }
                continue;
            }
            let held = self.tokens.remove(&open.token).map_or_else(Vec::new, |token| token.held);
            let (held, delivered) = match open.op {
                Some(_) => (Vec::new(), held),
                // They have come to their run, and wait for it as long as it takes.
                None => {
                    let kept = held.into_iter().filter(|(_, until)| *until >= open.refusal.arrived_at);
                    (kept.map(|(letter, _)| (letter, NEVER)).collect(), Vec::new())
                }
            };
            let (op, label) = (open.op, open.label.clone());
            let now = open.refusal.arrived_at;
            let delivered: Vec<_> = delivered.into_iter().filter(|(_, until)| *until >= now).collect();
            let state = if label.once && !delivered.is_empty() { TokenState::Disposed } else { TokenState::Open };
            let token = Token { run: Some(run), op, label, state, held };
            self.tokens.insert(Arc::clone(&open.token), token);
            for (letter, _) in delivered {
                self.edit(run, |run, letters| run.receive(letters, &letter, op.map(About::Operation)));
            }
        }
    }

    pub(super) fn close(&mut self, run: RunKey, closes: &[Close]) {
        for close in closes {
            if let Some(token) = self.tokens.get_mut(&close.token)
                && (token.run, token.op, token.state) == (Some(run), Some(close.op), TokenState::Open)
            {
                token.state = TokenState::Disposed;
            }
        }
    }

    /// Takes the operations from a run's open tokens; what came for these and was not taken is held.
    pub(super) fn hand_on(&mut self, run: RunKey, payloads: &[(Arc<str>, Letter)]) {
        let Some(from) = self.runs.get_mut(&run) else { return };
        let open = |token: &(&Arc<str>, &mut Token)| (token.1.run, token.1.state) == (Some(run), TokenState::Open);
        for (name, token) in self.tokens.iter_mut().filter(open) {
            let Some(op) = token.op.take() else { continue };
            let carried = payloads.iter().filter(|(sent_to, _)| sent_to == name).map(|(_, letter)| letter.clone());
            token.held.extend(carried.map(|letter| (letter, NEVER)));
            let generation = from.row.generation;
            let waiting = from.inbox.extract_if(.., |_, letter| {
                letter.about == Some(About::Operation(op)) && !letter.unread && letter.generation == generation
            });
            for (sequence, InboxRow { arrived_at, format, checksum, body, .. }) in waiting {
                self.letters.runs.remove(&sequence);
                // Its key is known to the run already.
                token.held.push((Letter { dedupe: None, arrived_at, format, checksum, body }, NEVER));
            }
        }
    }

    /// Ends the tokens of a run that has ended. What was held for it is its own, unread.
    pub(super) fn end_tokens(&mut self, run: RunKey) {
        let mut unread = Vec::new();
        for token in self.tokens.values_mut() {
            if (token.run, token.state) == (Some(run), TokenState::Open) {
                token.state = TokenState::Finished;
                unread.append(&mut token.held);
            }
        }
        for (letter, _) in unread {
            self.edit(run, |run, letters| run.receive(letters, &letter, None));
        }
    }

    /// Forgets the tokens of a run, with what is held for it.
    pub(super) fn forget_tokens(&mut self, run: RunKey) {
        self.tokens.retain(|_, token| token.run != Some(run));
    }

    /// Forgets what was held until now, and the tokens that nobody has any more.
    pub(super) fn let_go(&mut self, now: u64) {
        self.tokens.retain(|_, token| {
            token.held.retain(|(_, until)| *until >= now);
            token.run.is_some() || !token.held.is_empty()
        });
    }

    pub(super) fn deliver(
        &mut self,
        name: &Arc<str>,
        letter: &Letter,
        hold_until: Option<u64>,
        now: u64,
    ) -> DeliverAnswer {
        if let Some(token) = self.tokens.get_mut(name) {
            match (token.state, token.run, token.op) {
                (TokenState::Open, Some(run), Some(op)) => {
                    if token.label.once {
                        token.state = TokenState::Disposed;
                    }
                    self.edit(run, |run, letters| run.receive(letters, letter, Some(About::Operation(op))));
                    return DeliverAnswer::Committed;
                }
                (TokenState::Open, Some(run), None) => {
                    let known = |run: &Run| letter.dedupe.as_ref().is_some_and(|key| run.dedupe.contains(key));
                    if !self.runs.get(&run).is_some_and(known) {
                        token.hold(letter, NEVER, now);
                        if token.label.once {
                            token.state = TokenState::Disposed;
                        }
                    }
                    return DeliverAnswer::Committed;
                }
                (TokenState::Disposed, Some(run), op) if token.label.once => {
                    let known = |run: &Run| letter.dedupe.as_ref().is_some_and(|key| run.dedupe.contains(key));
                    let held = token.held.iter().any(|(held, _)| held.dedupe == letter.dedupe);
                    let is_known = self.runs.get(&run).is_some_and(known) || (op.is_none() && held);
                    return if is_known { DeliverAnswer::Committed } else { DeliverAnswer::Disposed };
                }
                (TokenState::Disposed, ..) if hold_until.is_none() => return DeliverAnswer::Disposed,
                (TokenState::Finished, ..) if hold_until.is_none() => return DeliverAnswer::Finished,
                _ => {}
            }
        }
        let Some(until) = hold_until else { return DeliverAnswer::Unknown };
        let token = self.tokens.entry(Arc::clone(name)).or_insert_with(Token::of_nobody);
        if token.state != TokenState::Open {
            *token = Token::of_nobody();
        }
        token.hold(letter, until, now);
        DeliverAnswer::Committed
    }

    pub(in crate::store::memory) fn token(&self, token: &str) -> Option<TokenRow> {
        self.tokens.get(token).map(|token| self.view(token))
    }

    fn view(&self, token: &Token) -> TokenRow {
        let run = token.run.and_then(|run| self.runs.get(&run)).map(|run| Arc::clone(&run.row.id));
        TokenRow { run, op: token.op, label: token.label.clone(), state: token.state }
    }

    pub(in crate::store::memory) fn open_tokens(&self, run: RunKey) -> Vec<(Arc<str>, TokenRow)> {
        let Some(of) = self.runs.get(&run) else { return Vec::new() };
        let mut keys: Vec<RunKey> = self.children.get(&of.row.id).into_iter().flatten().copied().collect();
        keys.push(run);
        let is_theirs = |token: &Token| token.run.is_some_and(|run| keys.contains(&run));
        let open = self.tokens.iter().filter(|(_, token)| token.state == TokenState::Open && is_theirs(token));
        let mut open: Vec<_> = open.map(|(name, token)| (Arc::clone(name), self.view(token))).collect();
        open.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        open
    }
}
