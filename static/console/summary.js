// The summary of a room's last meeting, wherever it is shown.

import { element, show } from "./dom.js";
import { ofRoom } from "./http.js";
import { Repeated } from "./repeat.js";
import { problemNotice } from "./stopped.js";
import { render } from "./text.js";

/** Reads the summary of `room`: `{root, stop}`. */
export function summary(session, room) {
  const loading = element("p", { class: "loading" }, "Loading the summary …");
  const notice = element("div", { class: "notice", role: "status", hidden: true });
  const text = element("div", { class: "text" });
  const root = element("div", { class: "summary" }, loading, notice, text);
  const work = new Repeated(async () => {
    const { data, raw } = await session.ask({ path: ofRoom("/callSummary", room) });
    const words = typeof data === "string" ? data : data === null ? "" : raw;
    render(text, words.trim() === "" ? "The summary is empty." : words);
  });
  const update = problemNotice(notice, work, (problem) =>
    problem.kind === "missing" ? "This room has no summary." : `The summary could not be loaded. ${problem.message}`,
  );
  work.addEventListener("change", () => {
    show(loading, work.succeededAt === null && !work.problem);
    update();
  });
  work.run();
  return { root, stop: () => work.stop() };
}
