//! The page: a form, and the orders.

use std::fmt::Write;

use crate::order::Order;
use crate::routes::Report;

const HEAD: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>Orders</title>
<style>body { font-family: sans-serif; margin: 2em auto; max-width: 50em } form { display: inline }</style>
<h1>Orders</h1>
"#;

/// Follows the progress of an order once it is unfolded, because a browser has few connections and each open stream
/// takes one. After a restart of the server the browser reconnects by itself, and continues behind the last event.
const SCRIPT: &str = r#"<script>
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => {
    const events = new EventSource(details.dataset.progress);
    events.onmessage = event => {
      details.appendChild(document.createElement("div")).textContent = JSON.parse(event.data);
    };
    events.addEventListener("end", () => events.close());
  }, { once: true });
}
</script>
"#;

/// `id` is for the order that the form creates.
pub fn page(id: &str, reports: &[Report]) -> String {
    let form = format!(
        r#"<form method="post" action="/orders">
<input type="hidden" name="id" value="{id}">
<input name="item" placeholder="item" required>
<input name="cents" type="number" min="1" max="{}" placeholder="cents" required>
<button>Order</button>
</form>
"#,
        u32::MAX
    );
    let orders: String = reports.iter().map(entry).collect();
    format!("{HEAD}{form}<ul>\n{orders}</ul>\n{SCRIPT}")
}

fn entry(report: &Report) -> String {
    let Report { id, status, order, approval, progress } = report;
    let mut entry = format!(r#"<li><a href="/orders/{id}">{id}</a> ({status})"#);
    if let Some(Order { item, cents, stage, .. }) = order {
        let _ = write!(entry, ": {} for {cents} cents, {stage:?}", escaped(item));
    }
    if let Some(path) = approval {
        for (decision, label) in [("approve", "Approve"), ("reject", "Reject")] {
            let button = format!(r#"<button name="decision" value="{decision}">{label}</button>"#);
            let _ = write!(entry, r#" <form method="post" action="{path}">{button}</form>"#);
        }
    }
    entry + &format!(r#"<details data-progress="{progress}"><summary>progress</summary></details></li>"#) + "\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
