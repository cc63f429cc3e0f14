//! What the attributes refuse, and in which words.
//!
//! Each file holds one rule, or foot-guns of one kind, with the compiler's answer beside it. After a deliberate change
//! run with `TRYBUILD=overwrite` and read the difference: the message has to be ours, at the user's token, and say what
//! to do.

#[test]
fn rules_are_explained_at_the_users_own_token() {
    trybuild::TestCases::new().compile_fail("tests/ui/rules/*.rs");
}

#[test]
fn foot_guns_are_refused_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/ui/footguns/*.rs");
}
