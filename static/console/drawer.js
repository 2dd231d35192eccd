// The drawer: lists the requests of this page with their curl commands.

import { bindCopyButton, element, show } from "./dom.js";
import { onRequests, requests } from "./requests.js";
import { formatExactTime } from "./format.js";

/** Connects the drawer to its button and to the recorded requests. */
export function bindDrawer(session) {
  const panel = document.getElementById("requests");
  const list = document.getElementById("requests-list");
  const button = document.getElementById("requests-button");
  const copyToken = document.getElementById("copy-token");
  /** The rows by the number of their request. */
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
    button.textContent = `API calls (${requests().length})`;
    show(copyToken, session.isActive);
    const recorded = new Set(requests().map((entry) => entry.number));
    for (const [number, row] of rows) {
      if (!recorded.has(number)) {
        row.remove();
        rows.delete(number);
      }
    }
    if (panel.hidden) {
      return;
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
  bindCopyButton(copyToken, () => session.token);
  onRequests(update);
  session.addEventListener("change", update);
  update();
}

function rowOf(entry) {
  const line = element("code", {}, entry.curl);
  const copy = element("button", { type: "button", class: "plain", "aria-label": `Copy call ${entry.number}` }, "Copy");
  bindCopyButton(copy, () => entry.curl, () => line);
  return element(
    "li",
    {},
    element(
      "p",
      { class: "request" },
      element("span", { class: "time" }, formatExactTime(entry.at)),
      element("strong", {}, entry.method),
      element("bdi", { class: "path" }, entry.path),
      element("span", { class: "outcome" }),
    ),
    element("div", { class: "command" }, line, copy),
  );
}

function outcome(entry) {
  return entry.outcome === null ? "…" : `${entry.outcome} · ${entry.milliseconds} ms`;
}
