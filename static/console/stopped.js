// Views in which nothing can be done but wait or turn back.

import { element, fromTemplate, setText, show } from "./dom.js";
import { Repeated } from "./repeat.js";

/** The page while it finds out who is here. With a session, it goes on trying, because the server could not be asked. */
export function resuming(session, roomInAddress, route) {
  const { root, parts } = fromTemplate("view-stopped");
  parts.title.textContent = session ? "The server can’t be reached" : "One moment …";
  if (!session) {
    return { root, title: "One moment", stop() {} };
  }
  const work = new Repeated(() => session.resume(roomInAddress()));
  const wait = element("p", {});
  const now = element("button", { type: "button", onclick: () => work.run() }, "Try now");
  parts.says.append(element("p", {}, "Your place is kept. As soon as the server answers, this page goes on."), wait);
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

/** Says in a part of a view what went wrong with work that is done again, and when that will be. */
export function problemNotice(part, work, sentence) {
  const says = element("span", {});
  const wait = element("span", { "aria-hidden": "true" });
  const now = element("button", { type: "button", class: "plain", onclick: () => work.run() }, "Try now");
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
    // The server said when to come back: not before.
    show(now, problem.passes && problem.retryAfter === null && !work.isRunning);
  };
}
