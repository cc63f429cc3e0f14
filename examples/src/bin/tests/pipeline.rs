use workflow_runtime::step_info;
use workflow_runtime::testing::{Builder, TestEngine, explore};

use super::*;

const FILES: usize = 20;

/// Files of 1, 2, 3, .. words.
fn engine() -> Builder {
    TestEngine::builder()
        .mock(list, |directory| Ok((1..=FILES).map(|words| directory.join(words.to_string())).collect()))
        .mock(count, |file| {
            let words = file.file_name().and_then(|name| name.to_str()?.parse().ok());
            Ok(Counted { words: words.ok_or_else(|| Error::fatal("no such file"))?, file })
        })
        .deny_unmocked()
        .deny_unawaited()
}

#[tokio::test]
async fn neither_a_crash_nor_the_order_of_the_files_changes_the_sum() -> Result<()> {
    assert_eq!(explore(pipeline, "texts".into()).engine(engine).await?.one()?, FILES * (FILES + 1) / 2);
    Ok(())
}

#[tokio::test]
async fn the_progress_has_each_file_once_although_a_file_can_be_read_only_at_the_third_attempt() -> Result<()> {
    let flaky = |file: PathBuf| match step_info().map(|info| info.attempt) {
        Some(3) => Ok(Counted { file, words: 1 }),
        _ => Err(Error::new("the disk is busy")),
    };
    let engine = engine().mock(count, flaky).open().await?;
    let run = engine.start(pipeline, "texts".into()).await?;
    let progress: Vec<_> = run.stream::<Progress>("progress").try_collect().await?;
    assert!(progress.iter().map(|chunk| chunk.value.done).eq(1..=FILES));
    assert_eq!((run.await?, engine.calls(count).len()), (FILES, 3 * FILES));
    Ok(())
}
