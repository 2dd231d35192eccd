// The drawer: every request of this page as the curl line that asks the same.

import { copies, element, show } from "./dom.js";
import { onRequests, requests } from "./requests.js";
import { clockTime } from "./words.js";

/** Makes the drawer work, for the whole life of the page. */
export function drawer(session) {
  const panel = document.getElementById("requests");
  const list = document.getElementById("requests-list");
  const button = document.getElementById("requests-button");
  const copyToken = document.getElementById("copy-token");
  /** The rows there are, by their request's number. */
  const rows = new Map();

  const open = (isOpen) => {
    show(panel, isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      update();
      document.getElementById("requests-title").focus();
    } else {
      button.focus();
    }
  };

  const update = () => {
    button.textContent = `Requests (${requests().length})`;
    show(copyToken, session.isThere);
    if (panel.hidden) {
      return;
    }
    const recorded = new Set(requests().map((entry) => entry.number));
    for (const [number, row] of rows) {
      if (!recorded.has(number)) {
        row.remove();
        rows.delete(number);
      }
    }
    for (const entry of requests()) {
      if (!rows.has(entry.number)) {
        rows.set(entry.number, rowOf(entry));
        list.prepend(rows.get(entry.number));
      }
      rows.get(entry.number).querySelector(".outcome").textContent = outcome(entry);
    }
  };

  button.addEventListener("click", () => open(panel.hidden));
  document.getElementById("requests-close").addEventListener("click", () => open(false));
  panel.addEventListener("keydown", (event) => event.key === "Escape" && open(false));
  copies(copyToken, () => session.token);
  onRequests(update);
  session.addEventListener("change", update);
  update();
}

function rowOf(entry) {
  const line = element("code", {}, entry.curl);
  const copy = element("button", { type: "button", class: "plain", "aria-label": `Copy request ${entry.number}` }, "Copy");
  copies(copy, () => entry.curl, () => line);
  return element(
    "li",
    {},
    element(
      "p",
      { class: "request" },
      element("span", { class: "at" }, clockTime(entry.at)),
      element("strong", {}, entry.method),
      element("bdi", { class: "path" }, entry.path),
      element("span", { class: "outcome" }),
    ),
    element("div", { class: "line" }, line, copy),
  );
}

function outcome(entry) {
  return entry.outcome === null ? "…" : `${entry.outcome} · ${entry.milliseconds} ms`;
}
