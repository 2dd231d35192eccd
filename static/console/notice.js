// Messages: a view while the session is restored, and notices of problems with the time of the next retry.

import { element, fromTemplate, setText, show } from "./dom.js";
import { Poller } from "./poller.js";

/** Returns the view while the session is restored. With `session`, it retries, because the server is unreachable. */
export function resumingView(session, roomInUrl, route) {
  const { root, parts } = fromTemplate("view-message");
  parts.title.textContent = session ? "The server can’t be reached" : "One moment…";
  if (!session) {
    return { root, title: "One moment", stop() {} };
  }
  const work = new Poller(() => session.resume(roomInUrl()));
  const wait = element("p", {});
  const retry = element("button", { type: "button", onclick: () => work.run() }, "Try again");
  parts.message.append(element("p", {}, "This page continues as soon as the server responds."), wait);
  parts.actions.append(retry);
  work.addEventListener("change", () => {
    setText(wait, work.isRunning ? "Trying…" : work.retryIn === null ? "" : `Trying again in ${work.retryIn} s.`);
    show(retry, !work.isRunning);
    if (!work.isRunning && (work.succeededAt !== null || (work.problem && !work.problem.isRetryable))) {
      work.stop();
      route();
    }
  });
  work.run();
  return { root, title: "The server can’t be reached", stop: () => work.stop() };
}

/** Makes a part of a view show the problem of a poller, and the time until the next retry. Returns the update function. */
export function bindProblem(part, work, sentence) {
  const message = element("span", {});
  const wait = element("span", { "aria-hidden": "true" });
  const retry = element("button", { type: "button", class: "plain", onclick: () => work.run() }, "Try again");
  part.replaceChildren(message, " ", wait, " ", retry);
  return () => {
    const problem = work.problem;
    show(part, Boolean(problem));
    if (!problem) {
      return;
    }
    setText(message, sentence(problem));
    const seconds = work.retryIn;
    setText(wait, work.isRunning ? "Trying…" : seconds === null ? "" : `Trying again in ${seconds} s.`);
    // Not before the time of `Retry-After`.
    show(retry, problem.isRetryable && problem.retryAfter === null && !work.isRunning);
  };
}
