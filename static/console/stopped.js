// Views that only wait or lead back.

import { element, fromTemplate, setText, show } from "./dom.js";
import { Repeated } from "./repeat.js";

/** The page while it restores the session. With `session`, it retries, because the server is unreachable. */
export function resuming(session, roomInAddress, route) {
  const { root, parts } = fromTemplate("view-stopped");
  parts.title.textContent = session ? "The server can’t be reached" : "One moment …";
  if (!session) {
    return { root, title: "One moment", stop() {} };
  }
  const work = new Repeated(() => session.resume(roomInAddress()));
  const wait = element("p", {});
  const now = element("button", { type: "button", onclick: () => work.run() }, "Try again");
  parts.says.append(element("p", {}, "This page continues as soon as the server responds."), wait);
  parts.actions.append(now);
  work.addEventListener("change", () => {
    setText(wait, work.isRunning ? "Trying …" : work.retryIn === null ? "" : `Trying again in ${work.retryIn} s.`);
    show(now, !work.isRunning);
    if (!work.isRunning && (work.succeededAt !== null || (work.problem && !work.problem.passes))) {
      work.stop();
      route();
    }
  });
  work.run();
  return { root, title: "The server can’t be reached", stop: () => work.stop() };
}

/** Shows the problem of repeated work in a part of a view, and the time until the next try. */
export function problemNotice(part, work, sentence) {
  const says = element("span", {});
  const wait = element("span", { "aria-hidden": "true" });
  const now = element("button", { type: "button", class: "plain", onclick: () => work.run() }, "Try again");
  part.replaceChildren(says, " ", wait, " ", now);
  return () => {
    const problem = work.problem;
    show(part, Boolean(problem));
    if (!problem) {
      return;
    }
    setText(says, sentence(problem));
    const seconds = work.retryIn;
    setText(wait, work.isRunning ? "Trying …" : seconds === null ? "" : `Trying again in ${seconds} s.`);
    // Not before the time that the server named.
    show(now, problem.passes && problem.retryAfter === null && !work.isRunning);
  };
}
