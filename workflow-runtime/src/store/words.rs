//! Text forms of small values in the databases.

use super::{About, TokenState};

/// The statuses of runs that have ended, as a list of SQL.
macro_rules! ended {
    () => {
        "('completed', 'failed', 'cancelled')"
    };
}
pub(super) use ended;

const OPERATION: &str = "operation ";
const OWNER: &str = "owner ";
const ENDED: &str = "ended ";
const TOKEN: &str = "token ";

impl About {
    pub(super) fn to_text(&self) -> String {
        match self {
            About::Operation(op) => format!("{OPERATION}{op}"),
            About::Owner(run) => format!("{OWNER}{run}"),
            About::Ended(op) => format!("{ENDED}{op}"),
            About::Token(token) => format!("{TOKEN}{token}"),
        }
    }

    /// `None` if the text is damaged.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(owner) = text.strip_prefix(OWNER) {
            Some(About::Owner(owner.into()))
        } else if let Some(token) = text.strip_prefix(TOKEN) {
            Some(About::Token(token.into()))
        } else if let Some(op) = text.strip_prefix(ENDED) {
            op.parse().ok().map(About::Ended)
        } else {
            text.strip_prefix(OPERATION).and_then(|op| op.parse().ok()).map(About::Operation)
        }
    }
}

impl TokenState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            TokenState::Open => "open",
            TokenState::Disposed => "disposed",
            TokenState::Taken => "taken",
            TokenState::Finished => "finished",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let states = [TokenState::Open, TokenState::Disposed, TokenState::Taken, TokenState::Finished];
        states.into_iter().find(|state| state.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Status;

    #[test]
    fn the_ended_statuses_are_the_terminal_ones() {
        let terminal: Vec<String> =
            Status::ALL.iter().filter(|status| status.is_terminal()).map(|status| format!("'{status}'")).collect();
        assert_eq!(ended!(), format!("({})", terminal.join(", ")));
    }
}
