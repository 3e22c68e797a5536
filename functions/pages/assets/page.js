// Keeps the page up to date: reads it again, and replaces the parts that differ. Without this
// script the page is the same, and its link at the bottom updates it.
"use strict";

const main = document.getElementById("main");
const pause = document.getElementById("pause");
const said = document.getElementById("said");
const LONGEST = 120;
let failures = 0;
let timer = 0;

function parts(root) {
  return new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.id, part]));
}

// Open details stay open, and who is in a part with the keyboard stays there.
function replace(before, after) {
  for (const details of before.querySelectorAll("details[open][id]")) {
    after.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  if (before.isEqualNode(after)) return;
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const path = focused?.getAttribute("href");
  const scrolled = before.querySelector(".scroll")?.scrollLeft ?? 0;
  before.replaceWith(after);
  const scroll = after.querySelector(".scroll");
  if (scroll) scroll.scrollLeft = scrolled;
  if (!focused) return;
  const again = path ? [...after.querySelectorAll("a")].find((a) => a.getAttribute("href") === path) : null;
  (again ?? scroll ?? main).focus({ preventScroll: true });
}

async function update() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(`${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const verdict = document.querySelector("#verdict h1, #head h1")?.textContent;
  const found = parts(fresh);
  for (const [id, part] of parts(document)) if (found.has(id)) replace(part, found.get(id));
  document.title = fresh.title;
  main.dataset.every = fresh.getElementById("main").dataset.every;
  const now = document.querySelector("#verdict h1, #head h1")?.textContent;
  if (now !== verdict) said.textContent = now;
}

async function turn() {
  if (!document.hidden && pause.getAttribute("aria-pressed") === "false") {
    try {
      await update();
      failures = 0;
      document.body.classList.remove("stale");
    } catch {
      failures += 1;
      document.body.classList.add("stale");
    }
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  timer = setTimeout(turn, 1000 * Math.min(LONGEST, main.dataset.every * 2 ** failures));
}

if (pause && main.dataset.every !== "0") {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "false";
    pause.setAttribute("aria-pressed", `${paused}`);
    if (!paused) turn();
  });
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  plan();
}
