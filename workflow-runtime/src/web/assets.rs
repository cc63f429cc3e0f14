//! The files of the page, which are part of the program.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

pub(super) struct Asset {
    pub name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

pub(super) const STYLE: Asset =
    Asset { name: "style.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("files/style.css") };
pub(super) const RUN_STYLE: Asset =
    Asset { name: "run.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("run.css") };
pub(super) const SCRIPT: Asset =
    Asset { name: "script.js", kind: "text/javascript; charset=utf-8", bytes: include_bytes!("files/script.js") };
pub(super) const ICON: Asset =
    Asset { name: "icon.svg", kind: "image/svg+xml", bytes: include_bytes!("files/icon.svg") };

impl Asset {
    /// Its address, which changes with its content.
    pub fn address(&self) -> String {
        format!("{}?{:08x}", self.name, crc32fast::hash(self.bytes))
    }

    pub fn answer(&self) -> Response {
        let headers: [(HeaderName, &str); 2] =
            [(header::CONTENT_TYPE, self.kind), (header::CACHE_CONTROL, "max-age=31536000, immutable")];
        (headers, self.bytes).into_response()
    }
}
