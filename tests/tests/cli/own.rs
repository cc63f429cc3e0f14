//! The command line in a program with workflows.

use std::process::{Command, Stdio};

use crate::support::Place;

case!(
    #[threads]
    async fn a_program_executes_and_starts_its_own_workflows() {
        let place = Place::sqlite();
        let mut worker = Command::new(env!("CARGO_BIN_EXE_own_command_line"))
            .args(["--store", &place.url, "worker"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(worker.stderr.take().unwrap()));
        assert!(lines.next().unwrap().unwrap().starts_with("executing runs of 1 workflows"));
        let started = place.own("start own '{\"order\":1,\"cents\":4200}' --id o1 --wait --timeout 60s");
        assert_eq!(started.ok(), "\"receipt-1-4200\"\n");
        let wrong = place.own("start own '{\"order\":1,\"cents\":\"much\"}'");
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.err.contains("at cents"), "{wrong:?}");
        assert_eq!(place.run("workflows -o ids").ok(), "own\n");
        // A program without workflows starts a run by the schema that the worker has published.
        let started = place.run("start own '{\"order\":2,\"cents\":7}' --id o2 --wait --timeout 60s");
        assert_eq!(started.ok(), "\"receipt-2-7\"\n");
        for wrong in ["start own '[1]'", "start own '{\"order\":1,\"price\":7}'", "start nothing"] {
            assert_eq!(place.run(wrong).code, 2, "{wrong}");
        }
        let checked = place.own("check").ok();
        assert!(checked.starts_with("checked 0 unfinished runs: 0 compatible, 0 incompatible, 0 moved"), "{checked}");
        assert_eq!(place.own("check --workflow own -o json").json()["incompatible"], 0);
        assert_eq!(place.run("check").code, 3, "the program has no workflows");
        let journal: workflow_runtime::Journal = place.run("export o1").ok().parse().unwrap();
        assert_eq!((journal.run_id(), journal.workflow()), ("o1", "own"));
        assert_eq!(place.run("export none").code, 4);
        assert_eq!(place.run("workers -o json").json()["workers"][0]["executes"], true);
        assert_eq!(place.run("deployments -o json").json()["deployments"][0]["workers"], 1);
        let pid = rustix::process::Pid::from_raw(worker.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(worker.wait().unwrap().success());
        assert_eq!(place.run("worker").code, 3);
    }
);
