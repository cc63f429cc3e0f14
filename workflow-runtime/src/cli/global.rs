//! The options that all commands have.

use clap::{Args, ValueEnum};

/// The options of every command.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The store, as a URL or the path of a SQLite file [default: $WORKFLOW_URL, else the nearest .workflow/workflow.db]
    #[arg(long, global = true, value_name = "URL|PATH")]
    pub store: Option<String>,
    /// The form of what is printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// The columns of a table, separated by commas
    #[arg(long, global = true, value_name = "A,B", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// How times are shown in tables [default: relative at a terminal, else iso]
    #[arg(long, global = true, value_enum)]
    pub time: Option<Times>,
    /// Whether tables have colours; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Print texts as they are, with their control characters, which can change the state of a terminal
    #[arg(long, global = true)]
    pub raw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One document.
    Json,
    /// One document a line.
    Jsonl,
    /// The ids only, one a line.
    Ids,
}

impl Format {
    pub fn is_json(self) -> bool {
        matches!(self, Format::Json | Format::Jsonl)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Times {
    Relative,
    Iso,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}
