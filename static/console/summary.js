// The panel with the summary of a room's last meeting.

import { element, show } from "./dom.js";
import { roomPath } from "./http.js";
import { render } from "./markdown.js";
import { bindProblem } from "./notice.js";
import { Poller } from "./poller.js";

/** Returns the panel with the summary of `room`: `{root, stop}`. */
export function summaryPanel(session, room) {
  const loading = element("p", { class: "loading" }, "Loading the summary…");
  const notice = element("div", { class: "notice", role: "status", hidden: true });
  const text = element("div", { class: "text" });
  const root = element("div", { class: "summary" }, loading, notice, text);
  const work = new Poller(async () => {
    const { data, raw } = await session.request({ path: roomPath("/callSummary", room) });
    const words = typeof data === "string" ? data : data === null ? "" : raw;
    render(text, words.trim() === "" ? "The summary is empty." : words);
  });
  const update = bindProblem(notice, work, (problem) =>
    problem.kind === "not-found" ? "This room has no summary." : `The summary could not be loaded. ${problem.message}`,
  );
  work.addEventListener("change", () => {
    show(loading, work.succeededAt === null && !work.problem);
    update();
  });
  work.run();
  return { root, stop: () => work.stop() };
}
