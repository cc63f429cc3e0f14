//! Tokens: which run receives the payloads that are sent to them, and the payloads that are held.

use std::sync::Arc;

use super::super::rows::{Held, State, Token};
use super::super::run::{Name, Run};
use crate::store::tokens::{self, Decision, Found, Opening};
use crate::store::{
    About, Close, Continuation, Deliver, DeliverAnswer, InboxRow, Keep, Message, NEVER, Open, RunKey, TokenLabel,
    TokenRow, TokenState,
};

impl Token {
    fn without_run() -> Self {
        Token { run: None, op: None, label: TokenLabel::default(), state: TokenState::Open, held: Vec::new() }
    }

    fn hold(&mut self, message: &Message, until: u64, now: u64, key: Option<Arc<str>>) {
        self.held.retain(|held| held.until >= now);
        self.held.push(Held { message: message.clone(), until, key });
    }
}

impl State {
    fn found(&self, name: &str) -> Option<Found> {
        let Token { run, op, label, state, .. } = self.tokens.get(name)?;
        let ended = run.and_then(|run| self.runs.get(&run)).map(|run| run.row.status.is_terminal());
        let asked = label.asked.as_ref().map(|asked| Arc::clone(&asked.id));
        Some(Found { run: *run, ended, op: *op, state: *state, once: label.once, asked })
    }

    pub(super) fn open(&mut self, run: RunKey, opens: &[Open]) {
        for open in opens {
            match tokens::open(run, open, self.found(&open.token).as_ref()) {
                Opening::Left => {}
                Opening::Refused(owner) => {
                    let owner = self.runs.get(&owner).map(|owner| About::Owner(Arc::clone(&owner.row.id)));
                    self.edit(run, |run, messages| run.receive(messages, &open.refusal, owner));
                }
                Opening::Opened { again } => {
                    if let (true, Some(scope), Some(asked)) = (again, &open.scope, &open.label.asked) {
                        self.deliveries.remove(&(Arc::clone(scope), Arc::clone(&asked.id)));
                    }
                    self.take(run, open);
                }
            }
        }
    }

    fn take(&mut self, run: RunKey, open: &Open) {
        let now = open.refusal.arrived_at;
        let mut held = self.tokens.remove(&open.token).map_or_else(Vec::new, |token| token.held);
        held.retain(|held| held.until >= now);
        for key in held.iter().filter_map(|held| held.key.clone()) {
            self.delivered_to(run, (Arc::clone(&open.token), key), now);
        }
        let mut token =
            Token { run: Some(run), op: open.op, label: open.label.clone(), state: TokenState::Open, held: Vec::new() };
        if let Some(op) = open.op {
            if token.label.once && !held.is_empty() {
                token.state = TokenState::Taken;
            }
            for held in held {
                self.edit(run, |run, messages| run.receive(messages, &held.message, Some(About::Operation(op))));
            }
        } else {
            // The payloads belong to the run now, and are held without a time limit.
            token.held = held.into_iter().map(|held| Held { until: NEVER, key: None, ..held }).collect();
        }
        self.tokens.insert(Arc::clone(&open.token), token);
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

    /// Clears the operations of a run's open tokens. The tokens hold the messages of these operations that were not
    /// taken.
    pub(super) fn hand_on(&mut self, run: RunKey, continuation: &Continuation) {
        let Some(from) = self.runs.get_mut(&run) else { return };
        let generation = from.row.generation;
        let waits = |message: &InboxRow, op: u64| {
            message.about == Some(About::Operation(op)) && message.generation == generation
        };
        let open = |token: &(&Arc<str>, &mut Token)| (token.1.run, token.1.state) == (Some(run), TokenState::Open);
        let kept = |message: Message| Held { message, until: NEVER, key: None };
        for (name, token) in self.tokens.iter_mut().filter(open) {
            if token.label.once {
                token.state = TokenState::Disposed;
                continue;
            }
            let Some(op) = token.op.take() else { continue };
            let payloads = continuation.payloads.iter().filter(|(sent_to, _)| sent_to == name);
            token.held.extend(payloads.map(|(_, message)| kept(message.clone())));
            let ops = continuation.ops(name, op);
            let waiting = from.inbox.extract_if(.., |_, message| {
                ops.iter().any(|of| waits(message, *of) && (!message.unread || *of != op))
            });
            for (sequence, InboxRow { arrived_at, format, checksum, body, .. }) in waiting {
                self.messages.runs.remove(&sequence);
                token.held.push(kept(Message { dedupe: None, arrived_at, format, checksum, body }));
            }
        }
        for forward in &continuation.forwards {
            for message in from.inbox.values_mut().filter(|message| waits(message, forward.op)) {
                (message.about, message.generation) = (Some(About::Operation(forward.to)), generation + 1);
                message.unread = false;
            }
        }
    }

    /// Finishes the tokens of a run that has ended. Its inbox receives the payloads held for them, which only a
    /// retried run reads.
    pub(super) fn end_tokens(&mut self, run: RunKey) {
        let mut unread = Vec::new();
        for (name, token) in &mut self.tokens {
            if (token.run, token.state) == (Some(run), TokenState::Open) {
                token.state = TokenState::Finished;
                unread.extend(token.held.drain(..).map(|held| (name.clone(), held.message)));
            }
        }
        for (token, message) in unread {
            self.edit(run, |run, messages| run.receive(messages, &message, Some(About::Token(token))));
        }
    }

    /// Removes the tokens of a run, with the payloads that are held for it.
    pub(super) fn forget_tokens(&mut self, run: RunKey) {
        self.tokens.retain(|_, token| token.run != Some(run));
    }

    /// Removes payloads that were held until now, and the tokens that have neither a run nor payloads.
    pub(super) fn let_go(&mut self, now: u64) {
        self.tokens.retain(|_, token| {
            token.held.retain(|held| held.until >= now);
            token.run.is_some() || !token.held.is_empty()
        });
    }

    pub(super) fn deliver(&mut self, delivery: &Deliver) -> DeliverAnswer {
        let Deliver { token: name, message, key, keep, now, .. } = delivery;
        let recorded: Name = (Arc::clone(delivery.scope()), Arc::clone(key));
        let decision = tokens::decide(delivery, self.found(name).as_ref(), self.before(&recorded).as_ref());
        match decision {
            Decision::Answer(outcome) => return outcome,
            Decision::Deliver { run, op, takes } => {
                if let (Some(token), true) = (self.tokens.get_mut(name), takes) {
                    token.state = TokenState::Taken;
                }
                self.edit(run, |run, messages| run.receive(messages, message, Some(About::Operation(op))));
                self.record(recorded, delivery, Some(run), None);
            }
            Decision::Keep { run, takes } => {
                if let Some(token) = self.tokens.get_mut(name) {
                    token.hold(message, NEVER, *now, None);
                    if takes {
                        token.state = TokenState::Taken;
                    }
                }
                self.record(recorded, delivery, Some(run), None);
            }
            Decision::Hold { until } => {
                let token = self.tokens.entry(Arc::clone(name)).or_insert_with(Token::without_run);
                if token.run.is_some() {
                    *token = Token::without_run();
                }
                let follows = matches!(keep, Keep::FromEnd(_)).then(|| Arc::clone(key));
                token.hold(message, until, *now, follows);
                self.record(recorded, delivery, None, Some(until));
            }
        }
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
        let mut keys = vec![run];
        let mut next = 0;
        while let Some(run) = keys.get(next).and_then(|key| self.runs.get(key)) {
            let children = self.children.get(&run.row.id).into_iter().flatten();
            let unended = |key: &&RunKey| self.runs.get(key).is_some_and(|run: &Run| !run.row.status.is_terminal());
            keys.extend(children.filter(unended));
            next += 1;
        }
        let is_theirs = |token: &Token| token.run.is_some_and(|run| keys.contains(&run));
        let open = self.tokens.iter().filter(|(_, token)| token.state == TokenState::Open && is_theirs(token));
        let mut open: Vec<_> = open.map(|(name, token)| (Arc::clone(name), self.view(token))).collect();
        open.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        open
    }
}
