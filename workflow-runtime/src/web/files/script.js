// The page works without this file. It keeps it up to date, moves by keys, and writes times in the zone of the browser.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const isLive = document.currentScript.dataset.live !== undefined;

  // Times. A span has two units at most, as on the server.
  const blank = "\u00a0";
  const span = (ms) => {
    const s = Math.floor(ms / 1000), pad = (n) => String(n).padStart(2, "0");
    if (s < 1) return `0${blank}s`;
    if (s < 60) return `${s}${blank}s`;
    if (s < 3600) return `${Math.floor(s / 60)}${blank}min`;
    if (s < 86400) {
      const rest = Math.floor(s / 60) % 60;
      return `${Math.floor(s / 3600)}${blank}h` + (rest ? blank + pad(rest) : "");
    }
    const rest = Math.floor(s / 3600) % 24;
    return `${Math.floor(s / 86400)}${blank}d` + (rest ? `${blank}${rest}${blank}h` : "");
  };
  // The clock of the server counts: the difference is measured once.
  const served = Number(document.documentElement.dataset.now);
  const offset = served ? served - Date.now() : 0;
  const clock = (time, now) => {
    const day = (date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86400000;
    const days = day(time) - day(now);
    const hours = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    if (days === 0) return hours;
    if (days === -1) return `yesterday ${hours}`;
    if (days === 1) return `tomorrow ${hours}`;
    if (Math.abs(days) < 7) return `${time.toLocaleDateString("en-GB", { weekday: "long" })} ${hours}`;
    const date = time.toLocaleDateString("en-GB", { day: "numeric", month: "long" });
    return time.getFullYear() === now.getFullYear() ? `${date} ${hours}` : `${date} ${time.getFullYear()}`;
  };
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const tick = (root = document) => {
    const now = Date.now() + offset;
    for (const time of all("time[datetime]", root)) {
      const at = Date.parse(time.dateTime);
      if (time.dataset.age !== undefined) { if (now - at >= 1000) put(time, span(now - at)); }
      else if (time.dataset.ahead !== undefined) put(time, span(Math.max(0, at - now)));
      else if (time.dataset.at !== undefined) put(time, clock(new Date(at), new Date(now)).replaceAll(" ", blank));
    }
  };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const node of all("[data-zone]")) put(node, zone === "UTC" ? "Times in UTC" : `Times in ${zone}, UTC in the tooltip`);
  tick();
  setInterval(() => { if (!document.hidden) tick(); }, 1000);

  // The token of an address that is opened once: it is posted, and leaves the address.
  const enter = one("form[data-enter]");
  if (enter && location.hash.length > 1) {
    one("input", enter).value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
    enter.submit();
    return;
  }

  // Updates: the page reads itself again after an event. No row moves or vanishes before the next load.
  const isBusy = (node) => node.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")
    || one("details[open]", node) !== null;
  const replace = (before, after) => {
    if (before.innerHTML === after.innerHTML && before.className === after.className) return;
    if (isBusy(before)) return;
    before.className = after.className;
    before.replaceChildren(...after.childNodes);
  };
  const rows = (before, after) => {
    const old = new Map(all(":scope > [data-row]", before).map((row) => [row.dataset.row, row]));
    const fresh = new Map(all(":scope > [data-row]", after).map((row) => [row.dataset.row, row]));
    for (const [key, row] of old) {
      const now = fresh.get(key);
      row.classList.toggle("gone", !now);
      if (!now) continue;
      const box = one("input:checked", row) !== null;
      if (row.contains(document.activeElement) && document.activeElement.matches("a")) continue;
      if (row.innerHTML !== now.innerHTML) {
        row.className = now.className;
        row.replaceChildren(...now.childNodes);
        const input = one("input[type=checkbox]", row);
        if (input && box) input.checked = true;
      }
    }
    const newer = [...fresh.keys()].filter((key) => !old.has(key)).length;
    const link = one("[data-newer]");
    if (link && newer) {
      link.hidden = false;
      put(link, newer === 1 ? "1 newer run" : `${newer} newer runs`);
    }
  };
  let isReading = false, isStale = false;
  const refresh = async () => {
    if (isReading) { isStale = true; return; }
    isReading = true;
    isStale = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        tick(page);
        for (const before of all("[data-live]:not(script)")) {
          const after = all("[data-live]:not(script)", page).find((node) => node.dataset.live === before.dataset.live);
          if (after) replace(before, after);
        }
        const lists = all("[data-rows]"), read = all("[data-rows]", page);
        lists.forEach((list, at) => { if (read[at]) rows(list, read[at]); });
      }
    } catch { /* the stream opens again, and then the page is read again */ }
    isReading = false;
    if (isStale) setTimeout(refresh, 250);
  };
  let source = null;
  const say = (text) => { const link = one("[data-live-link] span"); if (link) put(link, text); };
  const open = () => {
    if (source || document.hidden || !isLive) return;
    source = new EventSource("live");
    source.addEventListener("change", refresh);
    source.addEventListener("open", () => say("Live"));
    source.addEventListener("error", () => say("Reconnects"));
  };
  const close = () => { if (source) source.close(); source = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); return; }
    if (isLive) refresh();
    open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();

  // Keys. A key only opens: nothing is written by one.
  const pages = { o: "overview", r: "runs", p: "people", w: "workflows", k: "workers" };
  let prefix = "", row = -1, last = -1;
  const lines = () => all("[data-rows] > [data-row], .ask");
  const select = (to) => {
    const every = lines();
    if (!every.length) return;
    if (every[row]) every[row].removeAttribute("aria-current");
    row = Math.max(0, Math.min(every.length - 1, to));
    every[row].setAttribute("aria-current", "true");
    every[row].scrollIntoView({ block: "nearest" });
  };
  const mark = (many) => {
    const every = lines(), from = many && last >= 0 ? Math.min(last, row) : row;
    for (let at = from; at <= Math.max(row, many ? last : row); at += 1) {
      const box = every[at] && one("input[type=checkbox]", every[at]);
      if (box) box.checked = many || !box.checked;
    }
    last = row;
  };
  const follow = (link) => { if (link) link.click(); };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (document.activeElement) document.activeElement.blur();
      for (const menu of all("details.menu[open]")) menu.open = false;
      return;
    }
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const key = event.key;
    if (prefix === "g") {
      prefix = "";
      const keyed = one(`[data-key="g ${CSS.escape(key)}"]`);
      if (keyed) follow(keyed); else if (pages[key]) location.href = pages[key];
      return;
    }
    if (key === "g") { prefix = "g"; return; }
    const every = lines();
    if (key === "/") { event.preventDefault(); one("#find").focus(); }
    else if (key === "?") location.href = "keys";
    else if (key === "j") select(row + 1);
    else if (key === "k") select(row - 1);
    else if (key === "x" || key === "X") { if (row < 0) select(0); mark(key === "X"); }
    else if (key === "." ) { const bar = one(".actions a, .bulk button, .all a"); if (bar) bar.focus(); }
    else if (key === "Enter" && every[row] && !event.target.matches("a, button, summary")) {
      const ask = every[row].matches("details") ? every[row] : null;
      if (ask) ask.open = !ask.open; else follow(one("a", every[row]));
    } else if (/^[1-7]$/.test(key)) follow(all(".tabs a")[Number(key) - 1]);
    else if (/^[a-z]$/.test(key)) follow(one(`[data-key="${key}"]`));
  });
  // The command line beside a button, to the clipboard. A page that is not served as secure has none: the line is selected.
  document.documentElement.dataset.script = "";
  const copy = async (button) => {
    const line = one("pre", button.closest(".cmd"));
    let word = "Copied";
    try { await navigator.clipboard.writeText(line.textContent); } catch {
      getSelection().selectAllChildren(line);
      word = "Selected";
    }
    put(button, word);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
})();
