//! A tour in a browser without a window.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use workflow_harness::browser::Driver;

use crate::support::soon;

/// What the browser's console has had since the last time.
#[derive(Debug)]
struct Console;

impl WebDriverCompatibleCommand for Console {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// A command of the protocol of Chromium's developer tools.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}

/// `dev`, which ends with this value.
pub struct Dev {
    process: Child,
    store: String,
    /// The address, which can be opened once.
    enter: String,
    base: String,
}

impl Dev {
    pub fn start(store: &str) -> Dev {
        let mut command = Command::new(env!("CARGO_BIN_EXE_web_world"));
        command.args(["--store", store, "dev", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        let mut enter = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut enter).expect("an address");
        let enter = enter.trim().to_owned();
        let base = enter.split("enter").next().unwrap_or_default().to_owned();
        Dev { process, store: store.to_owned(), enter, base }
    }

    pub fn command(&self, words: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_web_world"));
        let done = command.args(["--store", &self.store]).args(words).output().expect("it ends");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn browser(driver: &Driver) -> Client {
    let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"];
    let capabilities = json!({
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    });
    let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
    soon(async {
        loop {
            if let Ok(client) = ClientBuilder::new(fantoccini_connector())
                .capabilities(capabilities.clone())
                .connect(&driver.url())
                .await
            {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

/// Plain HTTP: the driver is on this machine.
fn fantoccini_connector() -> hyper_util::client::legacy::connect::HttpConnector {
    hyper_util::client::legacy::connect::HttpConnector::new()
}

/// What is wrong with the page that is open: controls without a name, requests that leave the machine.
const FAULTS: &str = r#"
    const faults = [];
    const named = (node) => (node.getAttribute("aria-label") || node.textContent || node.title || "").trim() !== "";
    for (const node of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
        if (!node.labels.length && !node.getAttribute("aria-label")) faults.push("no label: " + node.outerHTML);
    }
    for (const node of document.querySelectorAll("a, button, summary")) if (!named(node)) faults.push("no name: " + node.outerHTML);
    for (const entry of performance.getEntriesByType("resource")) {
        if (!entry.name.startsWith(location.origin)) faults.push("leaves the machine: " + entry.name);
    }
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    for (const id of ids.filter((id, at) => ids.indexOf(id) !== at)) faults.push("id twice: " + id);
    if (document.documentElement.scrollWidth > innerWidth + 1) faults.push("wider than the window: " + document.documentElement.scrollWidth);
    if (!document.querySelector("h1")) faults.push("no heading");
    return faults;
"#;

/// Texts that are hard to read: whose contrast with what is behind them is below 4.5. The channels of a colour are 0 to 1.
const FAINT: &str = r#"
    const parsed = (text) => {
        const parts = (text.match(/-?[\d.]+(e-?\d+)?/g) || []).map(Number);
        const most = text.startsWith("color(") ? 1 : 255;
        return { channels: parts.slice(0, 3).map((part) => part / most), alpha: parts.length > 3 ? parts[3] : 1 };
    };
    const over = (front, back, alpha) => front.map((part, at) => part * alpha + back[at] * (1 - alpha));
    const canvas = parsed(getComputedStyle(document.body).backgroundColor).channels;
    const behind = (node) => {
        if (!node || node === document.documentElement) return canvas;
        const { channels, alpha } = parsed(getComputedStyle(node).backgroundColor);
        if (alpha === 1) return channels;
        return alpha === 0 ? behind(node.parentElement) : over(channels, behind(node.parentElement), alpha);
    };
    const light = (channels) => {
        const [r, g, b] = channels.map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = new Set();
    const check = (node, text, style) => {
        const isSvg = node instanceof SVGElement;
        const back = behind(isSvg ? node.ownerSVGElement.parentElement : node);
        const { channels, alpha } = parsed(isSvg ? style.fill : style.color);
        const [high, low] = [light(over(channels, back, alpha)), light(back)].sort((a, b) => b - a);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) faint.add(`${contrast.toFixed(2)}: ${text.trim().slice(0, 40)} in ${node.localName}.${node.getAttribute("class") || ""}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let checked = 0;
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement, text = walker.currentNode.data;
        if (!text.trim() || node.closest("script, style, option") || !node.checkVisibility()) continue;
        check(node, text, getComputedStyle(node));
        checked += 1;
    }
    for (const node of document.querySelectorAll("input:not([type=hidden]), textarea, select")) {
        if (!node.checkVisibility()) continue;
        check(node, node.value || node.localName, getComputedStyle(node));
        if (node.placeholder) check(node, node.placeholder, getComputedStyle(node, "::placeholder"));
    }
    return checked > 10 ? [...faint] : ["few texts: " + checked];
"#;

async fn is_right(client: &Client, at: &str) {
    let faults = client.execute(FAULTS, Vec::new()).await.expect("the script runs");
    assert_eq!(faults, json!([]), "{at}");
    let faint = client.execute(FAINT, Vec::new()).await.expect("the script runs");
    assert_eq!(faint, json!([]), "{at}");
    let console = client.issue_cmd(Console).await.expect("the console is read");
    assert_eq!(console, json!([]), "{at}");
}

/// Sets whether the browser asks for light or dark pages.
async fn scheme(client: &Client, scheme: &str) {
    let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    client.issue_cmd(DevTools("Emulation.setEmulatedMedia", features)).await.expect("the scheme is set");
}

async fn text(client: &Client, selector: &str) -> String {
    let found = soon(client.wait().for_element(Locator::Css(selector))).await.expect(selector);
    found.text().await.unwrap_or_default()
}

/// Waits until an element of the page that is open has a text, without a reload.
async fn becomes(client: &Client, selector: &str, wanted: &str) {
    soon(async {
        while !text(client, selector).await.contains(wanted) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn click(client: &Client, selector: &str) {
    let found = soon(client.wait().for_element(Locator::Css(selector))).await.expect(selector);
    found.click().await.expect(selector);
}

async fn fill(client: &Client, selector: &str, value: &str) {
    let found = soon(client.wait().for_element(Locator::Css(selector))).await.expect(selector);
    found.send_keys(value).await.expect(selector);
}

case! {
    #[browser]
    async fn a_tour_of_the_page() {
        let directory = tempfile::tempdir().expect("a directory");
        let dev = Dev::start(&format!("sqlite:{}", directory.path().join("w.db").display()));
        dev.command(&["start", "world", "null", "--id", "world", "--wait"]);
        dev.command(&["start", "follow", "null", "--id", "follow-1"]);
        let driver = Driver::start();
        let client = browser(&driver).await;

        // The address is good once, and the token does not stay in it.
        client.goto(&dev.enter).await.expect("it opens");
        becomes(&client, "h1", "for a person").await;
        let address = client.current_url().await.expect("an address");
        assert!(address.path() == "/overview" && address.fragment().is_none(), "{address}");
        is_right(&client, "overview").await;

        let pages = [
            "overview", "runs", "runs?view=failing", "runs?view=waiting", "runs?group=error", "people", "workflows", "workers", "keys",
            "run?id=order-1001", "run?id=order-1003", "run?id=order-1005", "run?id=order-1005&row=0", "run?id=order-1005&tab=steps",
            "run?id=order-1005&tab=events", "start?workflow=order", "fork?run=order-1005",
            "bulk?all=1&view=waiting", "resume?run=order-1003", "send?token=order-2", "start?like=order-1005",
        ];
        let dark = [
            "overview", "runs", "runs?view=failing", "people", "workers", "run?id=order-1001", "run?id=order-1003",
            "run?id=order-1005&row=0", "run?id=order-1005&tab=events", "run?id=order-1005&tab=steps", "resume?run=order-1003",
            "bulk?all=1&view=waiting&do=cancel",
        ];
        for (name, pages) in [("light", &pages[..]), ("dark", &dark[..])] {
            scheme(&client, name).await;
            for width in [1280, 390] {
                client.set_window_size(width, 900).await.expect("a size");
                for page in pages {
                    client.goto(&format!("{}{page}", dev.base)).await.expect("it opens");
                    is_right(&client, &format!("{page} at {width}, {name}")).await;
                }
            }
            let back = "return getComputedStyle(document.body).backgroundColor";
            let back = client.execute(back, Vec::new()).await.expect("the script runs");
            assert_eq!(back == json!("rgb(255, 255, 255)"), name == "light", "{back}");
        }
        scheme(&client, "light").await;
        client.set_window_size(1280, 900).await.expect("a size");
        for (page, rows) in [("runs", "tbody tr"), ("runs?group=error", "tbody tr"), ("overview", "section[data-live] tbody tr")] {
            client.goto(&format!("{}{page}", dev.base)).await.expect("it opens");
            let heights = format!("return [...new Set([...document.querySelectorAll('{rows}')].map((row) => Math.round(row.offsetHeight)))]");
            let heights = client.execute(&heights, Vec::new()).await.expect("the script runs");
            assert_eq!(heights, json!([37]), "the heights of the rows of {page}");
        }
        client.goto(&format!("{}workers", dev.base)).await.expect("it opens");
        click(&client, "a[href*='do=drain']").await;
        becomes(&client, "h1", "Drain").await;
        is_right(&client, "drain").await;

        // A command line is copied, or selected where the browser has no clipboard.
        client.goto(&format!("{}run?id=order-1001", dev.base)).await.expect("it opens");
        click(&client, ".cmds summary").await;
        click(&client, ".cmds .copy").await;
        soon(async {
            while !["Copied", "Selected"].contains(&&*text(&client, ".cmds .copy").await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;

        // A page follows its run without being loaded again.
        client.goto(&format!("{}run?id=follow-1", dev.base)).await.expect("it opens");
        becomes(&client, "[aria-live]", "follow-go").await;
        client.execute("window.isTheSame = true", Vec::new()).await.expect("the script runs");
        dev.command(&["send", "follow-go", "7"]);
        becomes(&client, "[aria-live]", "Completed").await;
        let same = client.execute("return window.isTheSame === true", Vec::new()).await.expect("the script runs");
        assert_eq!(same, json!(true));

        // A hook is answered by the form of its schema.
        client.goto(&format!("{}send?token=order-2", dev.base)).await.expect("it opens");
        click(&client, "input[name='v.approved'][value=true]").await;
        fill(&client, "input[name='v.by']", "Ada").await;
        click(&client, "form[action=send] .pri").await;
        becomes(&client, "[aria-live]", "Completed").await;

        // A step that has failed is executed with other input, in a fork from its event.
        client.goto(&format!("{}run?id=order-1005&row=0", dev.base)).await.expect("it opens");
        becomes(&client, "[aria-live]", "out of stock").await;
        click(&client, "#detail a[data-key=f]").await;
        let input = soon(client.wait().for_element(Locator::Css("#input"))).await.expect("the input");
        assert_eq!(input.prop("value").await.expect("it is read").as_deref(), Some("5"));
        input.clear().await.expect("it is emptied");
        fill(&client, "#input", "6").await;
        fill(&client, "#id", "forked").await;
        click(&client, "form[action=fork] .pri").await;
        becomes(&client, "h1", "forked").await;
        becomes(&client, "[aria-live]", "Completed").await;
        is_right(&client, "the fork").await;

        // All that match a filter are cancelled, after a look at how many they are.
        client.goto(&format!("{}runs?view=waiting", dev.base)).await.expect("it opens");
        click(&client, ".all a").await;
        click(&client, "a[href*='do=cancel']").await;
        becomes(&client, "h1", "Cancel 11 runs?").await;
        click(&client, ".red").await;
        becomes(&client, "h1", "11 cancel requested").await;
        client.goto(&format!("{}runs?view=waiting", dev.base)).await.expect("it opens");
        becomes(&client, "main", "No run is in this view").await;
        is_right(&client, "after the cancel").await;
        client.close().await.expect("it closes");
    }
}
