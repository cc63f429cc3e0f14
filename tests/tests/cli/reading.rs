//! The output of the commands that read, compared with snapshots.

use crate::support::Place;
use crate::world::filled;

/// Replaces the generated UUIDs in a text by a fixed one.
fn without_uuids(text: &str) -> String {
    let is_uuid = |word: &str| word.len() == NO_UUID.len() && word.matches('-').count() == 4;
    let inside = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let end = rest.find(|letter| !inside(letter)).unwrap_or(rest.len()).max(letter.len_utf8());
        let (word, after) = rest.split_at(end);
        shown.push_str(if is_uuid(word) { NO_UUID } else { word });
        rest = after;
    }
    shown
}

const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// Compares the output of commands with the snapshot of this name.
fn snapshot(place: &Place, name: &str, lines: &[&str]) {
    let text = place.transcript(lines).replace(&place.directory.path().display().to_string(), "[directory]");
    let text = without_uuids(&text);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

case!(
    #[threads]
    async fn commands_that_read_print_their_snapshots() {
        let place = Place::sqlite();
        filled(&place).await;
        snapshot(
            &place,
            "ls",
            &[
                "ls",
                "ls --status failed,cancelled --columns run,error_code,error,ended",
                "ls --workflow nap --status suspended -o ids",
                "ls --failing --columns run,status,failing_since,error",
                "ls --waiting --workflow nap -o ids",
                "ls --waiting --status failed",
                "ls --attribute customer=Ada -o ids",
                "ls --parent family-1 -o ids",
                "ls --id order --since 2023-11-14 --until 2023-11-15 -o ids",
                "ls --since 2023-11-15",
                "ls --error 'order 33' -o ids",
                "ls --limit 1 --workflow checkout -o json",
                "ls --workflow approval -o jsonl",
                "ls --columns run,age",
                "ls --status sleeping",
            ],
        );
        snapshot(&place, "groups", &["ls --group-by error", "ls --group-by workflow", "ls --group-by status -o json"]);
        snapshot(&place, "count", &["count", "count --workflow checkout -o json"]);
        snapshot(
            &place,
            "show",
            &[
                "show order-2",
                "show approval-7",
                "show asks-1",
                "show family-1",
                "show order-1 -o json",
                "show nobody",
                "show nobody -o json",
            ],
        );
        snapshot(
            &place,
            "steps",
            &["steps order-2", "steps family-1 --columns event,step,status,run", "steps order-1 -o json"],
        );
        snapshot(
            &place,
            "events",
            &[
                "events order-2",
                "events order-1 1..2 -o jsonl",
                "events order-1 -2.. -o ids",
                "events order-1 --type step_completed -o json",
                "events order-1 -f --type ended",
                "events nobody",
            ],
        );
        snapshot(&place, "trace", &["trace family-1 --time iso", "trace order-2 --time iso --no-fold"]);
        snapshot(
            &place,
            "stream",
            &[
                "stream writes-1",
                "stream writes-1 log",
                "stream writes-1 log --from -1 -f",
                "stream writes-1 log -o jsonl --raw",
            ],
        );
        snapshot(
            &place,
            "result",
            &[
                "result order-1",
                "result order-1 --raw",
                "result order-2",
                "result order-2 -o json",
                "result nap-2",
                "result nap-1 --timeout 10ms",
                "result nobody",
            ],
        );
        snapshot(&place, "hooks", &["hooks", "hooks approval-7 -o json"]);
        snapshot(&place, "explain", &["explain stuck", "explain run_not_found -o json", "explain nonsense"]);
        snapshot(&place, "help", &["--help", "ls --help", "cancel --help"]);
    }
);
