//! The page under a prefix.

use axum::Router;
use workflow_runtime::web;

use crate::pages::PAGES;
use crate::support::{get, serve};
use crate::world::filled;

case! {
    async fn all_links_stay_below_any_prefix() {
        let engine = filled("text").await;
        let page = || -> Router { web::router(&engine).access(|_| true).into() };
        let to = serve(Router::new().nest("/ops/workflows", page()).nest("/other", page())).await;
        assert_eq!(get(to, "/ops/workflows").await.header("location"), Some("workflows/overview"));
        // Behind a proxy that removes the prefix.
        let bare = serve(page()).await;
        assert_eq!(get(bare, "/").await.header("location"), Some("overview"));
        assert_eq!(get(to, "/ops/workflows/nothing").await.status, 404);
        for path in PAGES {
            let answer = get(to, &format!("/ops/workflows{path}")).await;
            assert_eq!(answer.status, 200, "{path}");
            for attribute in [" href=\"", " src=\"", " action=\""] {
                for link in answer.body.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                    // A name beside this page: no slash before the parameters, and no scheme.
                    let name = link.split('?').next().unwrap_or_default();
                    assert!(!name.contains(['/', ':']), "{path}: {link}");
                    if name.is_empty() || name.starts_with('#') {
                        continue;
                    }
                    let page = get(to, &format!("/ops/workflows/{name}")).await;
                    assert!(!page.body.contains("There is no such page"), "{path}: {link}");
                }
            }
        }
        for file in ["style.css", "script.js", "icon.svg"] {
            let answer = get(to, &format!("/ops/workflows/{file}")).await;
            assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")), "{file}");
        }
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn the_prefix_is_found_with_and_without_a_slash_at_its_end() {
        let engine = filled("text").await;
        let page = Router::from(web::router(&engine));
        let to = serve(Router::new().nest_service("/ops/workflows", page)).await;
        assert_eq!(get(to, "/ops/workflows").await.header("location"), Some("workflows/overview"));
        assert_eq!(get(to, "/ops/workflows/").await.header("location"), Some("overview"));
        assert_eq!(get(to, "/ops/workflows/overview").await.status, 200);
        assert_eq!(get(to, "/ops/workflows/nothing").await.status, 404);
        engine.shutdown().await.unwrap();
    }
}

case! {
    async fn the_script_has_at_most_300_lines() {
        let engine = filled("text").await;
        let to = serve(web::router(&engine).into()).await;
        assert!(get(to, "/script.js").await.body.lines().count() <= 300);
        engine.shutdown().await.unwrap();
    }
}
