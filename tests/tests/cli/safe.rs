//! Texts of runs cannot send control sequences to a terminal.

use workflow_runtime::{Engine, Error, Result, set_attribute, set_state, step, workflow, writer};

use crate::support::{Place, soon};

const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\u{202e}evil";

#[step(retries = 0)]
async fn breaks() -> Result<()> {
    Err(Error::fatal(EVIL))
}

#[workflow(id = "evil")]
async fn evil() -> Result<()> {
    set_attribute("note", EVIL)?;
    set_state(&EVIL)?;
    writer::<String>("log").write(&EVIL.to_owned()).await?;
    breaks().await
}

case!(
    #[threads]
    async fn control_characters_are_escaped_in_all_commands() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        soon(engine.start(evil, ()).id("evil-1").await.unwrap()).await.unwrap_err();
        engine.shutdown().await.unwrap();
        let lines = [
            "ls --columns run,error",
            "ls -o json",
            "ls -o jsonl",
            "ls --group-by error",
            "show evil-1",
            "show evil-1 -o json",
            "steps evil-1",
            "events evil-1 -p",
            "events evil-1 -o jsonl",
            "trace evil-1",
            "stream evil-1 log",
            "stream evil-1 log -o jsonl",
            "result evil-1",
            "result evil-1 -o json",
            "show \u{1b}[2J",
            "show \u{1b}[2J -o json",
            "explain \u{1b}[2J",
            "ls --columns \u{1b}[2J",
            "retry \u{1b}[2J",
            "send \u{1b}[2J 1",
            "\u{1b}[2J",
        ];
        for line in lines {
            let ended = place.run(line);
            let is_steering = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
            // JSON may contain the letter that reverses the text direction. It has no other effect on a terminal.
            let is_steering = |letter: char| is_steering(letter) && !(letter == '\u{202e}' && line.contains("json"));
            for text in [&ended.out, &ended.err] {
                assert!(!text.contains(is_steering), "{line:?}: {text:?}");
            }
        }
        let raw = place.run("stream evil-1 log --raw");
        assert_eq!(raw.out, EVIL);
    }
);
